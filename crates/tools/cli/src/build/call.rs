//! `--call` and `--check`: what a Dockerfile answers without being built.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::time::Duration;

use api::build::{BuildCheck, BuildExtras, BuildOptions, KnownImage};
use dockerfile::call::{Answer, Question, bases, lint, outline, targets};
use dockerfile::ignore::Ignore;
use oci::image::ImageConfig;
use oci::{Platform, Reference};

use super::context::{ignore, ignore_text};
use super::source::{Source, decoded};
use crate::context::Cli;
use crate::error::Error;
use crate::registry::credentials;

/// How long a registry may take to say what an image is: checks are to be quick.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Lint,
    Outline,
    Targets,
}

/// A question, and how its answer is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    what: What,
    json: bool,
    ignore_status: bool,
}

/// An answer, as it is to be printed.
pub struct Reply {
    pub text: String,
    /// What the command is to end with.
    pub code: u8,
    /// Why the Dockerfile cannot be built, where checks found that.
    pub error: Option<Error>,
}

/// What the build would be.
pub struct Asked<'a> {
    pub source: Source,
    /// What a server needs to fetch a context that lies elsewhere.
    pub extras: BuildExtras,
    pub target: Option<&'a str>,
    pub build_args: BTreeMap<String, String>,
    pub platform: Option<&'a str>,
}

impl Call {
    /// Reads the value of `--call`, such as `outline,format=json`; `build` is no question.
    pub fn choose(call: Option<&str>, check: bool) -> Result<Option<Call>, Error> {
        let text = match (call, check) {
            (Some(text), false) => text,
            (Some(text), true) if text.split(',').any(|field| field == "check" || field == "lint") => text,
            (_, true) => "check",
            (None, false) => return Ok(None),
        };
        let (mut what, mut json, mut ignore_status) = (None, false, false);
        for field in text.split(',') {
            match field.split_once('=') {
                Some(("format", "json")) => json = true,
                Some(("format", "" | "text")) => json = false,
                Some(("format", other)) => {
                    return Err(Error::new(format!("invalid format {other} of --call: text or json")));
                }
                Some(("ignorestatus", "true" | "1")) => ignore_status = true,
                Some(("ignorestatus", "false" | "0")) => ignore_status = false,
                Some(_) => return Err(Error::new(format!("invalid print field: {field}"))),
                None if what.is_none() => what = Some(field),
                None => return Err(Error::new(format!("invalid print value: {text}"))),
            }
        }
        let what = match what.unwrap_or("build") {
            "build" | "" => return Ok(None),
            "check" | "lint" => What::Lint,
            "outline" => What::Outline,
            "targets" => What::Targets,
            other => {
                let words = "build, check, outline or targets";
                return Err(Error::new(format!("--call={other} is not supported: {words}")));
            }
        };
        Ok(Some(Call { what, json, ignore_status }))
    }

    /// Asks.
    pub async fn ask(self, cli: &Cli, asked: Asked<'_>) -> Result<Reply, Error> {
        let contexts = asked.extras.contexts.clone();
        let read = read(cli, asked.source, asked.extras).await?;
        let platform = match asked.platform {
            Some(text) => {
                text.parse::<Platform>().map_err(|error| Error::new(error.to_string()))?.normalized()
            }
            None => Platform::host(),
        };
        let mut question = Question {
            name: &read.name,
            text: &read.text,
            options: dockerfile::Options::default(),
            build_args: &asked.build_args,
            target: asked.target,
            platform: &platform,
            image: &|_, _| None,
            suits: &|_| false,
            ignore: read.ignore.as_ref(),
            mistake: None,
        };
        let bases = match self.what {
            What::Lint => images(cli, &question, &contexts).await,
            What::Outline | What::Targets => Bases::default(),
        };
        let mistake = match self.what {
            What::Lint => {
                mistake(cli, &question, asked.platform.unwrap_or_default(), (&bases, &contexts)).await
            }
            What::Outline | What::Targets => None,
        };
        question.mistake = mistake.as_ref();
        let image = |name: &str, of: &Platform| bases.images.get(&(name.to_owned(), of.clone())).cloned();
        let suits = |actual: &Platform| asked.platform.is_none() && bases.run.contains(actual);
        (question.image, question.suits) = (&image, &suits);
        let wrong = |error: dockerfile::Error| {
            let help = error.help.as_deref();
            let message = if error.span.line == 0 { error.message.clone() } else { error.to_string() };
            Error::new(match error.span.line {
                0 => format!("ERROR: {message}"),
                _ => {
                    let lines = dockerfile::render::excerpt(&read.name, &read.text, error.span);
                    let help = help.map(|help| format!("\nhelp: {help}")).unwrap_or_default();
                    format!("{lines}ERROR: {message}{help}")
                }
            })
        };
        match self.what {
            What::Lint => Ok(self.checked(lint(&question))),
            What::Outline => Ok(self.reply(&outline(&question).map_err(wrong)?)),
            What::Targets => Ok(self.reply(&targets(&question).map_err(wrong)?)),
        }
    }

    fn reply(self, answer: &Answer) -> Reply {
        let text = match self.json {
            true => format!("{}\n", answer.json),
            false => crate::format::text::printable(&answer.text).into_owned(),
        };
        Reply { text, code: 0, error: None }
    }

    fn checked(self, answer: Answer) -> Reply {
        let headline = match answer.warnings {
            _ if self.json => String::new(),
            0 if answer.error.is_none() => "Check complete, no warnings found.\n".to_owned(),
            0 => String::new(),
            1 => "Check complete, 1 warning has been found!\n".to_owned(),
            count => format!("Check complete, {count} warnings have been found!\n"),
        };
        let text = headline + &self.reply(&answer).text;
        let error = answer.error.map(|error| Error::new(format!("ERROR: {}", error.trim_end())));
        Reply { text, code: u8::from(answer.warnings > 0 && !self.ignore_status), error }
    }
}

/// A Dockerfile with its ignore file.
struct Dockerfile {
    name: String,
    text: String,
    ignore: Option<Ignore>,
}

async fn read(cli: &Cli, source: Source, extras: BuildExtras) -> Result<Dockerfile, Error> {
    let file = |name: String, text: String| Dockerfile { name, text, ignore: None };
    let ruled = |name: String, text: String, rules: Option<String>| {
        let ignore = rules.filter(|rules| !rules.is_empty()).map(|rules| ignore(&rules)).transpose()?;
        Ok(Dockerfile { name, text, ignore })
    };
    match source {
        Source::Dockerfile(inline) => Ok(file(inline.name, inline.text)),
        Source::Directory { path, dockerfile, own, inline } => {
            let (name, text) = match inline {
                Some(inline) => (inline.name, inline.text),
                None => {
                    let name = dockerfile.unwrap_or_else(|| "Dockerfile".to_owned());
                    let bytes = crate::definition::read(&path.join(&name));
                    let bytes = bytes.map_err(|error| Error::file("open", &name, &error))?;
                    (name, decoded(&bytes)?)
                }
            };
            let rules = ignore_text(&path, own.as_deref())?;
            ruled(name, text, Some(rules))
        }
        Source::Tar { first, dockerfile } => {
            let name = if dockerfile.is_empty() { "Dockerfile".to_owned() } else { dockerfile };
            let (text, rules) = from_tar(std::io::Cursor::new(first).chain(std::io::stdin()), &name)?;
            ruled(name, text, rules)
        }
        Source::Remote { inline: Some(inline), .. } => Ok(file(inline.name, inline.text)),
        Source::Remote { address, dockerfile, .. } => {
            let options = BuildOptions { remote: address, dockerfile, extras, ..BuildOptions::default() };
            let found = client::builds::definition(cli.client()?, &options).await?;
            ruled(found.name, found.text, found.ignore)
        }
    }
}

/// The file of this name in a tar, and the ignore file that counts for it.
fn from_tar(stream: impl Read + Send + 'static, name: &str) -> Result<(String, Option<String>), Error> {
    let failed = |error: archive::Error| Error::new(format!("read build context: {error}"));
    let stream = archive::decompress(stream)?;
    let mut reader = archive::Reader::new(std::io::BufReader::new(stream));
    let name = name.trim_start_matches("./");
    let own = format!("{name}.dockerignore");
    let mut found = BTreeMap::new();
    while let Some(entry) = reader.next_entry().map_err(failed)? {
        let path = entry.path.to_string_lossy().trim_start_matches("./").to_owned();
        if path == name || path == own || path == ".dockerignore" {
            let bytes = reader.read_data(&entry, dockerfile::MAX_SIZE as u64).map_err(failed)?;
            found.insert(path, bytes);
        }
    }
    let missing = || Error::new(format!("failed to read dockerfile: open {name}: no such file or directory"));
    let text = decoded(&found.remove(name).ok_or_else(missing)?)?;
    let rules = found.remove(&own).or_else(|| found.remove(".dockerignore"));
    Ok((text, rules.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())))
}

/// What is known of base images.
#[derive(Default)]
struct Bases {
    images: BTreeMap<(String, Platform), ImageConfig>,
    /// Platforms whose programs the server can run.
    run: BTreeSet<Platform>,
}

/// The base images that the server or their registries have: of what nobody has, nothing is said.
async fn images(cli: &Cli, question: &Question<'_>, contexts: &BTreeMap<String, String>) -> Bases {
    let Ok(client) = cli.client() else { return Bases::default() };
    let ask = |(name, platform): (String, Platform)| async move {
        let own = Reference::shortest(&name).unwrap_or_else(|| name.clone());
        let given = contexts.get(&name).or_else(|| contexts.get(&own)).map(String::as_str);
        let image = match given {
            Some(address) => address.strip_prefix("docker-image://")?,
            None => &name,
        };
        let domain = Reference::parse(image).ok()?.domain;
        let auth = credentials::lookup(cli, &domain).ok().flatten().unwrap_or_default();
        let asked = client::images::base(client, image, &platform, &auth);
        let found = tokio::time::timeout(PATIENCE, asked).await.ok()?.ok()?;
        let config = found.config?;
        let runs = found.runs.then(|| config.platform());
        Some((((name, platform), config), runs))
    };
    let answers = futures_util::future::join_all(bases(question).into_iter().map(ask)).await;
    let (images, run): (_, Vec<_>) = answers.into_iter().flatten().unzip();
    Bases { images, run: run.into_iter().flatten().collect() }
}

/// What only a builder sees. Servers that are not ours are not asked.
async fn mistake(
    cli: &Cli,
    question: &Question<'_>,
    platform: &str,
    (bases, contexts): (&Bases, &BTreeMap<String, String>),
) -> Option<dockerfile::Error> {
    let known = |((name, platform), config): (&(String, Platform), &ImageConfig)| KnownImage {
        name: name.clone(),
        platform: platform.to_string(),
        config: Some(config.clone()),
    };
    let asked = BuildCheck {
        text: question.text.to_owned(),
        target: question.target.unwrap_or_default().to_owned(),
        platform: platform.to_owned(),
        build_args: question.build_args.clone(),
        contexts: contexts.clone(),
        images: bases.images.iter().map(known).collect(),
    };
    let found = client::builds::check(cli.client().ok()?, &asked).await.ok()??;
    let span = dockerfile::LineIndex::new(question.text).span(found.start, found.end);
    Some(dockerfile::Error { message: found.message, span, help: found.help })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_flag() {
        let choose = |text: &str| Call::choose(Some(text), false).map_err(|error| error.message);
        let call = |what| Call { what, json: false, ignore_status: false };
        assert_eq!(choose("check"), Ok(Some(call(What::Lint))));
        assert_eq!(choose("lint,format=json"), Ok(Some(Call { json: true, ..call(What::Lint) })));
        let lenient = Call { ignore_status: true, ..call(What::Lint) };
        assert_eq!(choose("ignorestatus=true,check"), Ok(Some(lenient)));
        assert_eq!(choose("build"), Ok(None));
        assert_eq!(Call::choose(None, true).unwrap(), Some(call(What::Lint)));
        assert_eq!(Call::choose(None, false).unwrap(), None);
        assert_eq!(Call::choose(Some("check,format=json"), true).unwrap().map(|call| call.json), Some(true));
        assert_eq!(Call::choose(Some("outline"), true).unwrap(), Some(call(What::Lint)));
        assert!(choose("explain").unwrap_err().contains("--call=explain is not supported"));
        assert!(choose("check,outline").is_err() && choose("check,x=y").is_err());
        assert!(choose("check,format=xml").is_err());
    }
}
