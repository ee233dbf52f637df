//! `cargo xtask <verb>`: everything that is done with this repository, each with its own set-up.
//!
//! Nothing here is linked into the product. A verb installs what it lacks (Debian packages through `apt-get`), says
//! each command before it runs it, and leaves the machine as it found it, but for installed packages and `target/`.

mod bench;
mod conformance;
mod crash;
mod demo;
mod fuzz;
mod install;
mod leftovers;
mod lint;
#[cfg(test)]
mod rules;
mod setup;
mod shell;
mod test;
mod vm;

use anyhow::bail;

const USAGE: &str = "\
Usage: cargo xtask <verb>

  demo          build dhow, build and run examples/guestbook, show it, clean up
  test          run every test that needs nothing but Debian's own packages
  conformance   run the tests against foreign clients and engines (docker, dockerd, skopeo)
  crash         kill, break and damage everything at length (--kills N, --seed N, --every N)
  vm            run a scenario on Debian's kernel with cgroup v2, in software emulation
  fuzz [NAME…]  run the fuzz targets for a moment each (--seconds N)
  lint          rustfmt, clippy, cargo-deny and the rules of this repository
  bench [NAME]  measure, beside the peers that are installed
  install       put the static binary at /usr/local/bin/dhow (--prefix DIR, --docker-alias)";

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let verb = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    match verb.as_str() {
        "demo" => demo::run(),
        "test" => test::run(&rest),
        "conformance" => conformance::run(&rest),
        "crash" => crash::run(&rest),
        "vm" => vm::run(),
        "fuzz" => fuzz::run(&rest),
        "lint" => lint::run(),
        "bench" => bench::run(&rest),
        "install" => install::run(&rest),
        "" | "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(())
        }
        other => bail!("unknown verb {other:?}\n\n{USAGE}"),
    }
}
