//! Looking around where a step of a build failed: its file system as an image, with all that its process was started with.

use std::sync::Arc;

use api::build::{BuildOptions, BuildShell};
use builder::{CancelToken, Kept};
use oci::image::ImageConfig;
use oci::{ChainId, Platform};

use super::build::environment;
use super::history::new_id;
use super::lent::Handout;
use crate::Engine;
use crate::error::{Context as _, Error, Result};

/// Makes an image of what a failed step left, which is there as long as it is handed out, or a container has it. An id may be its
/// beginning; none is the last step's.
pub async fn shell(engine: &Engine, id: String) -> Result<(BuildShell, Handout)> {
    let env = environment(engine, &BuildOptions::default(), &CancelToken::default());
    let (ready, lease) = engine
        .blocking(move |engine| {
            let mut steps = builder::kept_steps(&env).system()?;
            let place = chosen(&id, &steps)?;
            let (id, _) = steps.remove(place);
            let (chain, mut kept) = builder::kept(&env, &id).system()?.ok_or_else(|| missing(&id, &steps))?;
            let lease = engine.store().lease("shell of a failed step")?;
            engine.store().use_layer(&lease, &chain)?;
            let chain = builder::with_mounts(&env, &lease, chain, &mut kept).system()?;
            let image = image(engine, &lease, &chain, &kept)?;
            let bind = |(from, to, readonly): &(std::path::PathBuf, String, bool)| {
                let end = if *readonly { ",readonly" } else { "" };
                format!("type=bind,source={},target={to}{end}", from.display())
            };
            let lease = Arc::new(lease);
            let ulimit = |limit: &oci::runtime::Rlimit| {
                let name = limit.typ.trim_start_matches("RLIMIT_").to_ascii_lowercase();
                format!("{name}={}:{}", limit.soft, limit.hard)
            };
            let tmpfs = kept.tmpfs.iter().map(|target| format!("type=tmpfs,target={target}"));
            let ready = BuildShell {
                id,
                others: steps.iter().map(told).collect(),
                image,
                shell: match &kept.argv[..] {
                    [shell, flag, _] if flag == "-c" => shell.clone(),
                    _ => "/bin/sh".to_owned(),
                },
                mounts: kept.binds.iter().map(bind).chain(tmpfs).collect(),
                instruction: kept.instruction,
                network: kept.network,
                privileged: kept.insecure,
                devices: kept.devices,
                extra_hosts: kept.hosts.iter().map(|(name, address)| format!("{name}:{address}")).collect(),
                ulimits: kept.rlimits.iter().map(ulimit).collect(),
                shm_size: kept.shm_size.unwrap_or_default(),
                missing: kept.missing,
            };
            Ok((ready, lease))
        })
        .await?;
    // As often as one likes, and at the same time: each has a name of its own.
    let handout = Handout::begin(engine, &new_id()?, lease);
    Ok((ready, handout))
}

/// Which of the steps an id names, the last of which is the first here.
fn chosen(id: &str, steps: &[(String, String)]) -> Result<usize> {
    let mut found = (0..steps.len()).filter(|place| steps[*place].0.starts_with(id));
    match (found.next(), found.next()) {
        (Some(place), None) => Ok(place),
        (Some(last), Some(_)) if id.is_empty() => Ok(last),
        _ => Err(missing(id, steps)),
    }
}

fn missing(id: &str, steps: &[(String, String)]) -> Error {
    let message =
        if id.is_empty() { "no failed step is kept".into() } else { format!("no failed step {id} is kept") };
    Error::not_found(message).with_hint(match steps {
        [] => "a few are kept, for a day at most, and until builder prune".to_owned(),
        steps => format!("kept are {}", steps.iter().map(told).collect::<Vec<_>>().join(", ")),
    })
}

/// A step as it is told of: its id and what it did.
fn told((id, instruction): &(String, String)) -> String {
    let line = instruction.lines().next().unwrap_or_default();
    let short: String = line.chars().take(60).collect();
    let is_cut = short.len() < instruction.len();
    format!("{id} ({short}{})", if is_cut { "…" } else { "" })
}

fn image(engine: &Engine, lease: &store::Lease, chain: &ChainId, kept: &Kept) -> Result<String> {
    let store = engine.store();
    let mut layers = store.chain(Some(chain))?;
    layers.reverse();
    let mut config = ImageConfig::new(&Platform::host());
    config.config.env.clone_from(&kept.env);
    config.config.user.clone_from(&kept.user);
    config.config.working_dir.clone_from(&kept.cwd);
    config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id.clone()).collect();
    let descriptors = layers.iter().map(|layer| store.descriptor(layer)).collect();
    Ok(store.lend_image(lease, &config, descriptors)?.image.id.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_by_the_beginning_of_their_id() {
        let steps = [("ab12", "RUN make"), ("ab34", "RUN <<EOF\nexit 1\nEOF"), ("cd56", "RUN x")];
        let steps = steps.map(|(id, instruction)| (id.to_owned(), instruction.to_owned()));
        let chosen = |id| chosen(id, &steps).map_err(|error| error.message);
        assert_eq!((chosen(""), chosen("ab3"), chosen("cd56")), (Ok(0), Ok(1), Ok(2)));
        assert_eq!(chosen("ab"), Err("no failed step ab is kept".to_owned()));
        assert_eq!(super::chosen("", &[]).unwrap_err().message, "no failed step is kept");
        let hint = missing("x", &steps).hint.unwrap();
        assert_eq!(hint, "kept are ab12 (RUN make), ab34 (RUN <<EOF…), cd56 (RUN x)");
    }
}
