//! Subrequests: what a Dockerfile answers without being built.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use api::build::BuildOptions;
use dockerfile::call::{Answer, Question, bases, lint, outline, targets};
use dockerfile::ignore::Ignore;
use oci::image::ImageConfig;
use oci::{Platform, Reference};
use serde_json::json;
use tonic::Status;

use super::context::Recipes;
use crate::Host;
use crate::build::Build;
use crate::fault;
use crate::policy;

/// Configurations of base images by name and platform.
type Images = BTreeMap<(String, Platform), ImageConfig>;

/// Of the documents of all answers.
const VERSION: &str = "1.0.0";

/// The question which ones there are.
const DESCRIBE: &str = "frontend.subrequests.describe";

/// Which questions are answered.
const KNOWN: [(&str, &str); 4] = [
    ("frontend.lint", "Lint a Dockerfile"),
    ("frontend.outline", "List all parameters current build target supports"),
    ("frontend.targets", "List all targets current build supports"),
    (DESCRIBE, "List available subrequest types"),
];

/// Whether a question is one about a Dockerfile.
pub fn reads(request: &str) -> bool {
    request != DESCRIBE && KNOWN.iter().any(|(name, _)| *name == request)
}

/// The answer as the metadata of a result.
pub async fn call(
    host: &Host,
    build: &Build,
    request: &str,
    options: &BuildOptions,
    recipes: Option<&Recipes>,
) -> Result<HashMap<String, Vec<u8>>, Status> {
    let Some(Recipes { recipe, ignore }) = recipes.filter(|_| reads(request)) else {
        return match request {
            DESCRIBE => Ok(describe()),
            _ => Err(fault::no_answer(request)),
        };
    };
    let ignore = ignore.as_deref().map(Ignore::parse).transpose();
    let ignore = ignore.map_err(|e| Status::invalid_argument(format!(".dockerignore: {e}")))?;
    let platform = options.platform.split(',').next().filter(|text| !text.is_empty());
    let platform = match platform {
        Some(text) => text.parse::<Platform>().map_err(|e| Status::invalid_argument(e.to_string()))?,
        None => Platform::host(),
    };
    let args = options.build_args.iter();
    let args = args.filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect();
    let platform = platform.normalized();
    let nothing = |_: &str, _: &Platform| None;
    let suits = |actual: &Platform| options.platform.is_empty() && engine::builds::runs(actual);
    let question = || Question {
        name: &recipe.name,
        text: &recipe.text,
        options: dockerfile::Options::default(),
        build_args: &args,
        target: Some(options.target.as_str()).filter(|target| !target.is_empty()),
        platform: &platform,
        image: &nothing,
        suits: &suits,
        ignore: ignore.as_ref(),
        mistake: None,
    };
    let wrong = |e: dockerfile::Error| Status::invalid_argument(e.to_string());
    let answer = match request {
        "frontend.outline" => outline(&question()).map_err(wrong)?,
        "frontend.targets" => targets(&question()).map_err(wrong)?,
        _ => {
            let wanted = bases(&question());
            let images = images(host, build, wanted).await;
            let image = |name: &str, of: &Platform| images.get(&(name.to_owned(), of.clone())).cloned();
            // What is wrong with the options is no mistake in the text.
            let mistake = engine::builds::mistake(&recipe.text, options, &platform, &image).ok().flatten();
            lint(&Question { image: &image, mistake: mistake.as_ref(), ..question() })
        }
    };
    Ok(metadata(answer))
}

fn metadata(answer: Answer) -> HashMap<String, Vec<u8>> {
    let status = u8::from(answer.warnings > 0 || answer.error.is_some());
    HashMap::from([
        ("result.json".to_owned(), answer.json.into_bytes()),
        ("result.txt".to_owned(), answer.text.into_bytes()),
        ("result.statuscode".to_owned(), status.to_string().into_bytes()),
        ("version".to_owned(), VERSION.as_bytes().to_vec()),
    ])
}

fn describe() -> HashMap<String, Vec<u8>> {
    let request = |(name, text): &(&str, &str)| {
        json!({
            "name": name,
            "version": VERSION,
            "type": "rpc",
            "description": text,
            "metadata": [{ "name": "result.json" }, { "name": "result.txt" }],
        })
    };
    let document = serde_json::Value::from(KNOWN.iter().map(request).collect::<Vec<_>>()).to_string();
    let text: String = KNOWN.iter().map(|(name, text)| format!("{name}\t{VERSION}\t{text}\n")).collect();
    HashMap::from([
        ("result.json".to_owned(), document.into_bytes()),
        ("result.txt".to_owned(), text.into_bytes()),
        ("version".to_owned(), VERSION.as_bytes().to_vec()),
    ])
}

/// What base images are: those that are here or that their registries have. Of the others nothing is said.
async fn images(host: &Host, build: &Build, wanted: BTreeSet<(String, Platform)>) -> Images {
    let find = |(name, platform): (String, Platform)| async move {
        let taken = policy::image(host, build, &name, &platform).await.ok()?;
        let domain = Reference::parse(&taken).ok()?.domain;
        let mut who = BTreeMap::new();
        if let Ok(session) = host.find_session(&build.order.session).await
            && let Ok(found) = session.credentials(&domain).await
        {
            who.insert(domain, found);
        }
        let config = engine::images::base_config(host.engine(), &taken, &platform, &who).await.ok()?;
        Some(((name, platform), config))
    };
    futures_util::future::join_all(wanted.into_iter().map(find)).await.into_iter().flatten().collect()
}
