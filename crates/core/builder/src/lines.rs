//! What is told to who follows a build instruction by instruction: the lines of the stages that are built, in the order of the
//! Dockerfile. Pure.

use crate::event::{Event, Line, LineKind, Teller};
use crate::graph::{Fs, Graph, StageUse};
use crate::platforms::Platformed;
use crate::request::Request;
use dockerfile::Span;
use dockerfile::ast::{Dockerfile, Stage};
use std::collections::BTreeMap;

/// The lines of all platforms, one after the other.
pub(crate) fn lines(file: &Dockerfile, request: &Request, lowered: &[Platformed]) -> Vec<Line> {
    let mut lines: Vec<Line> =
        file.global_args.iter().map(|arg| plain(arg.source.clone(), LineKind::Argument, None)).collect();
    for one in lowered {
        Draft { file, one, lines: &mut lines, last: BTreeMap::new() }.add(request);
    }
    lines
}

/// The instruction that a place lies in, where nothing came of a file.
pub(crate) fn stuck(file: &Dockerfile, place: Span) -> Event {
    let of_stage = |stage: &'_ Stage| {
        let own = stage.instructions.iter().map(|i| (i.span, i.source.clone()));
        std::iter::once((stage.head, stage.source.clone())).chain(own).collect::<Vec<_>>()
    };
    let all: Vec<(Span, String)> = file
        .global_args
        .iter()
        .map(|i| (i.span, i.source.clone()))
        .chain(file.stages.iter().flat_map(of_stage))
        .collect();
    let number = all.partition_point(|(span, _)| span.start <= place.start).max(1);
    let text = all.get(number - 1).map(|(_, text)| text.clone()).unwrap_or_default();
    Event::Stuck { number, total: all.len(), text }
}

fn plain(text: String, kind: LineKind, on: Option<usize>) -> Line {
    Line { text, kind, on, step: None, told_by: Teller::Nobody }
}

struct Draft<'d> {
    file: &'d Dockerfile,
    one: &'d Platformed,
    lines: &'d mut Vec<Line>,
    /// The last line of each stage.
    last: BTreeMap<usize, usize>,
}

impl Draft<'_> {
    fn add(&mut self, request: &Request) {
        let graph = &self.one.graph;
        let tellers = tellers(graph);
        for (index, stage) in &graph.stages {
            self.from(*index, stage);
            for line in &stage.lines {
                let kind = if line.is_trigger { LineKind::Trigger } else { LineKind::Instruction };
                self.lines.push(plain(line.text.clone(), kind, Some(self.lines.len() - 1)));
                if let (Some(op), Some(line)) = (line.op, self.lines.last_mut()) {
                    line.step = Some(graph.ops[op].name.clone());
                }
            }
            self.tell(*index, stage, &tellers);
        }
        // What the build's options say comes after all that the file says.
        for (key, value) in &request.labels {
            let line =
                plain(format!("LABEL {key}={value}"), LineKind::Instruction, Some(self.lines.len() - 1));
            self.lines.push(Line { told_by: Teller::Image, ..line });
        }
    }

    fn from(&mut self, index: usize, stage: &StageUse) {
        let graph = &self.one.graph;
        let triggers = stage.lines.iter().filter(|line| line.is_trigger).count();
        let (mut image, mut step) = (None, None);
        match (&stage.base, stage.parent) {
            (_, Some(_)) | (Fs::Scratch, None) => {}
            (Fs::Image(number), None) => {
                image = Some(self.one.images[*number].manifest.config.digest.clone());
                step = Some(graph.images[*number].name.clone());
            }
            (Fs::Op(op), None) => step = Some(graph.ops[*op].name.clone()),
        }
        let on = stage.parent.and_then(|parent| self.last.get(&parent).copied());
        let line = plain(self.file.stages[index].source.clone(), LineKind::From { image, triggers }, on);
        self.lines.push(Line { step, ..line });
        self.last.insert(index, self.lines.len() - 1 + stage.lines.len());
    }

    /// Says of a stage's last lines what tells whether they are new.
    fn tell(&mut self, index: usize, stage: &StageUse, tellers: &BTreeMap<usize, Teller>) {
        let graph = &self.one.graph;
        let mut teller = tellers.get(&index).cloned().unwrap_or(Teller::Nobody);
        for (line, told) in
            stage.lines.iter().zip(self.lines.iter_mut().rev().take(stage.lines.len()).rev()).rev()
        {
            if let Some(op) = line.op {
                teller = Teller::Step(graph.ops[op].name.clone());
            }
            told.told_by = teller.clone();
        }
    }
}

/// What comes first on each stage: the image where it is the last, or an operation of a stage that is from it.
fn tellers(graph: &Graph) -> BTreeMap<usize, Teller> {
    let mut tellers = BTreeMap::new();
    // The target is the one whose result is the image's; a stage comes before those that are from it.
    for (index, stage) in graph.stages.iter().rev() {
        let end = stage.lines.iter().rev().find_map(|line| line.op);
        let end = end.map_or_else(|| stage.base.clone(), Fs::Op);
        let own = tellers.entry(*index).or_insert(Teller::Nobody);
        if *own == Teller::Nobody && end == graph.result {
            *own = Teller::Image;
        }
        let own = own.clone();
        let first = stage.lines.iter().find_map(|line| line.op);
        let first = first.map_or(own, |op| Teller::Step(graph.ops[op].name.clone()));
        if let Some(parent) = stage.parent {
            tellers.insert(parent, first);
        }
    }
    tellers
}
