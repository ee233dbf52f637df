//! `spec`: a configuration to start from.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;

use runtime::cgroup::Cgroup;
use runtime::starter;

use super::{Failure, Globals};

const NAME: &str = "config.json";

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directory of the bundle
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// For a user without privileges
    #[arg(long)]
    rootless: bool,
}

pub fn run(_: &Globals, args: &Args) -> Result<(), Failure> {
    let unified = Cgroup::unified().map_err(|error| Failure::of("look at the control groups", &error))?;
    let mut spec = starter::spec(unified);
    if args.rootless {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        spec = starter::without_privileges(spec, uid.as_raw(), gid.as_raw());
    }
    let mut text = Vec::new();
    let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut json = serde_json::Serializer::with_formatter(&mut text, tabs);
    serde::Serialize::serialize(&spec, &mut json).map_err(|error| Failure::of("write JSON", &error))?;
    let path = args.bundle.join(NAME);
    let fail = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::new(format!("File {NAME} exists. Remove it first")),
        _ => Failure::of(&format!("write {}", path.display()), &error),
    };
    let mut file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(fail)?;
    file.write_all(&text).map_err(fail)
}
