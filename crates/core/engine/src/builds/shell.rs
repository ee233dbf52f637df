//! Looking around where a step of a build failed: its file system as an image, with all that its process was started with.

use api::build::{BuildOptions, BuildShell};
use builder::{CancelToken, Kept};
use oci::image::ImageConfig;
use oci::{ChainId, Platform};

use super::build::environment;
use crate::Engine;
use crate::error::{Context as _, Error, Result};

/// Makes an image of what a failed step left; whoever asked removes it.
pub async fn shell(engine: &Engine, id: String) -> Result<BuildShell> {
    let env = environment(engine, &BuildOptions::default(), &CancelToken::default());
    engine
        .blocking(move |engine| {
            let missing = || {
                Error::not_found(format!("no failed step {id} is kept"))
                    .with_hint("a few are kept, for a day at most, and until builder prune")
            };
            let (chain, kept) = builder::kept(&env, &id).system()?.ok_or_else(missing)?;
            let image = image(engine, &chain, &kept)?;
            let bind = |(from, to, readonly): &(std::path::PathBuf, String, bool)| {
                let end = if *readonly { ",readonly" } else { "" };
                format!("type=bind,source={},target={to}{end}", from.display())
            };
            let ulimit = |limit: &oci::runtime::Rlimit| {
                let name = limit.typ.trim_start_matches("RLIMIT_").to_ascii_lowercase();
                format!("{name}={}:{}", limit.soft, limit.hard)
            };
            let tmpfs = kept.tmpfs.iter().map(|target| format!("type=tmpfs,target={target}"));
            Ok(BuildShell {
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
            })
        })
        .await
}

fn image(engine: &Engine, chain: &ChainId, kept: &Kept) -> Result<String> {
    let store = engine.store();
    let lease = store.lease("shell of a failed step")?;
    store.use_layer(&lease, chain)?;
    let mut layers = store.chain(Some(chain))?;
    layers.reverse();
    let mut config = ImageConfig::new(&Platform::host());
    config.config.env.clone_from(&kept.env);
    config.config.user.clone_from(&kept.user);
    config.config.working_dir.clone_from(&kept.cwd);
    config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id.clone()).collect();
    let descriptors = layers.iter().map(|layer| store.descriptor(layer)).collect();
    Ok(store.make_image(&lease, &config, descriptors, None, &[])?.image.id.to_string())
}
