//! `manifest annotate`: says for which system a member is, where its own configuration does not say enough.

use oci::Platform;

use super::lists::Lists;
use crate::context::Cli;
use crate::error::Error;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Architecture, such as arm64
    #[arg(long)]
    arch: Option<String>,
    /// Operating system, such as linux
    #[arg(long)]
    os: Option<String>,
    /// Features of the operating system; may be repeated
    #[arg(long, value_delimiter = ',')]
    os_features: Vec<String>,
    /// Version of the operating system
    #[arg(long)]
    os_version: Option<String>,
    /// Variant of the architecture, such as v8
    #[arg(long)]
    variant: Option<String>,
    args: Vec<String>,
}

/// Systems with the architectures that images are made for on them.
const KNOWN: &[(&str, &[&str])] = &[
    ("darwin", &["386", "amd64", "arm", "arm64"]),
    ("dragonfly", &["amd64"]),
    ("freebsd", &["386", "amd64", "arm", "arm64", "riscv64"]),
    (
        "linux",
        &[
            "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64le",
            "riscv64", "s390x",
        ],
    ),
    ("netbsd", &["386", "amd64", "arm"]),
    ("openbsd", &["386", "amd64", "arm"]),
    ("plan9", &["386", "amd64"]),
    ("solaris", &["amd64"]),
    ("wasip1", &["wasm"]),
    ("windows", &["386", "amd64", "arm", "arm64"]),
];

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let (list, member) = (super::name(&args.args[0])?, super::name(&args.args[1])?);
    let lists = Lists::of(cli);
    let mut entry = lists.member(&list, &member)?.ok_or_else(|| {
        let (member, list) = (member.familiar(), list.familiar());
        Error::new(format!("manifest for image {member} does not exist in {list}"))
    })?;
    let platform = entry.descriptor.platform.get_or_insert_default();
    set(platform, args);
    if !is_known(platform) {
        return Err(Error::new(format!(
            "manifest entry for image has unsupported os/arch combination: {}/{}",
            platform.os, platform.architecture
        )));
    }
    lists.put(&list, &entry).map(|()| 0)
}

fn is_known(platform: &Platform) -> bool {
    let mut systems = KNOWN.iter();
    systems.any(|(os, architectures)| {
        *os == platform.os && architectures.contains(&platform.architecture.as_str())
    })
}

fn set(platform: &mut Platform, args: Args) {
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    if let Some(os) = given(args.os) {
        platform.os = os;
    }
    if let Some(architecture) = given(args.arch) {
        platform.architecture = architecture;
    }
    platform.variant = given(args.variant).or_else(|| platform.variant.take());
    platform.os_version = given(args.os_version).or_else(|| platform.os_version.take());
    for feature in args.os_features {
        if !platform.os_features.contains(&feature) {
            platform.os_features.push(feature);
        }
    }
}
