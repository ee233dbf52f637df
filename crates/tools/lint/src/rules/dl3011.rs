//! DL3011: ports end at 65535.

use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::View;
use dockerfile::ast::Kind;

pub(super) const RULE: Rule = Rule { id: "DL3011", severity: Severity::Error, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    for item in &view.items {
        let Some(Kind::Expose(ports)) = item.kind() else { continue };
        let numbers = ports.iter().flat_map(|port| {
            let port = port.text.split('/').next().unwrap_or_default();
            port.split(['-', ':'])
                .filter(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
        });
        if numbers.into_iter().any(|number| number.parse::<u16>().is_err()) {
            told.push((item.line, "Ports range from 0 to 65535".into()));
        }
    }
}
