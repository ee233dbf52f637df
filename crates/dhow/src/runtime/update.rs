//! `update`: other limits for a container that runs.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use cli::format::units::ram_in_bytes;
use oci::runtime::{BlockIo, Cpu, Memory, Pids, Resources};
use runtime::containers::{self, Update};

use super::{Failure, Globals};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// File with the specification's resources document, or - for standard input; other options are not looked at then
    #[arg(short, long, value_name = "FILE")]
    resources: Option<PathBuf>,
    /// Weight in block I/O, 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    blkio_weight: Option<u16>,
    /// Period of the processor quota, in microseconds
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    cpu_period: Option<String>,
    /// Processor time in a period, in microseconds; -1 is unlimited
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    cpu_quota: Option<String>,
    /// Processor time that may be saved up, in microseconds
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    cpu_burst: Option<String>,
    /// Weight in processor time
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    cpu_share: Option<String>,
    /// Period of the real-time quota, in microseconds
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    cpu_rt_period: Option<String>,
    /// Real-time processor time in a period, in microseconds
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    cpu_rt_runtime: Option<String>,
    /// Processors, as 0-2,7
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory nodes, as 0-2,7
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// 1: run only when the machine is idle; 0: as any other
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    cpu_idle: Option<String>,
    /// Memory, as 512m; -1 is unlimited
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    memory: Option<String>,
    /// Memory that is left to it when there is little
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    memory_reservation: Option<String>,
    /// Memory and swap together; -1 is unlimited swap
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    memory_swap: Option<String>,
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, hide = true)]
    kernel_memory: Option<String>,
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, hide = true)]
    kernel_memory_tcp: Option<String>,
    /// Number of tasks; -1 is unlimited
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pids_limit: Option<i64>,
    /// Schema of the L3 cache (Intel RDT)
    #[arg(long, value_name = "SCHEMA")]
    l3_cache_schema: Option<String>,
    /// Schema of the memory bandwidth (Intel RDT)
    #[arg(long, value_name = "SCHEMA")]
    mem_bw_schema: Option<String>,
    #[arg(value_name = "CONTAINER")]
    id: String,
}

pub fn run(globals: &Globals, args: &Args) -> Result<(), Failure> {
    let container = globals.open(&args.id)?;
    let mut resources = match &args.resources {
        Some(path) => read(path)?,
        None => asked(args)?,
    };
    if let Some(memory) = &mut resources.memory
        && (memory.kernel.take().is_some() | memory.kernel_tcp.take().is_some())
    {
        globals.log.warning("Kernel memory settings are ignored and will be removed");
    }
    // Zero is how documents say "not given".
    resources.pids.take_if(|pids| pids.limit == 0);
    let update = Update {
        resources,
        l3_cache_schema: args.l3_cache_schema.clone().unwrap_or_default(),
        mem_bw_schema: args.mem_bw_schema.clone().unwrap_or_default(),
    };
    globals.warn(&containers::update(&container, update)?);
    Ok(())
}

fn read(path: &Path) -> Result<Resources, Failure> {
    let fail = |error: io::Error| Failure::of(&format!("read {}", path.display()), &error);
    let mut text = Vec::new();
    if path.as_os_str() == "-" {
        io::stdin().read_to_end(&mut text).map_err(fail)?;
    } else {
        File::open(path).and_then(|mut file| file.read_to_end(&mut text)).map_err(fail)?;
    }
    oci::lenient::from_file(&text).map_err(|error| Failure::of("read the resources", &error))
}

fn asked(args: &Args) -> Result<Resources, Failure> {
    let memory = Memory {
        limit: size("memory", &args.memory)?,
        swap: size("memory-swap", &args.memory_swap)?,
        reservation: size("memory-reservation", &args.memory_reservation)?,
        kernel: size("kernel-memory", &args.kernel_memory)?,
        kernel_tcp: size("kernel-memory-tcp", &args.kernel_memory_tcp)?,
        ..Memory::default()
    };
    let cpu = Cpu {
        shares: number("cpu-share", &args.cpu_share)?,
        quota: number("cpu-quota", &args.cpu_quota)?,
        period: number("cpu-period", &args.cpu_period)?,
        burst: number("cpu-burst", &args.cpu_burst)?,
        realtime_period: number("cpu-rt-period", &args.cpu_rt_period)?,
        realtime_runtime: number("cpu-rt-runtime", &args.cpu_rt_runtime)?,
        cpus: args.cpuset_cpus.clone().unwrap_or_default(),
        mems: args.cpuset_mems.clone().unwrap_or_default(),
        idle: number("cpu-idle", &args.cpu_idle)?,
    };
    Ok(Resources {
        memory: Some(memory).filter(|memory| *memory != Memory::default()),
        cpu: Some(cpu).filter(|cpu| *cpu != Cpu::default()),
        pids: args.pids_limit.map(|limit| Pids { limit }),
        block_io: args.blkio_weight.map(|weight| BlockIo { weight: Some(weight), ..BlockIo::default() }),
        ..Resources::default()
    })
}

/// An empty text is not given, as in runc.
fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

fn number<T: std::str::FromStr<Err: std::error::Error>>(
    option: &str,
    text: &Option<String>,
) -> Result<Option<T>, Failure> {
    let read = |text: &str| {
        text.parse::<T>()
            .map_err(|error| Failure::new(format!("invalid value for {option}: {text:?}: {error}")))
    };
    given(text).map(read).transpose()
}

/// Powers of 1024.
fn size(option: &str, text: &Option<String>) -> Result<Option<i64>, Failure> {
    let read = |text: &str| match text {
        "-1" => Ok(-1),
        text => {
            ram_in_bytes(text).map_err(|reason| Failure::new(format!("invalid value for {option}: {reason}")))
        }
    };
    given(text).map(read).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_runc_does() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(size("memory", &some("1.5g")).unwrap(), Some(3 << 29));
        assert_eq!(size("memory", &some("-1")).unwrap(), Some(-1));
        assert_eq!(size("memory", &some("")).unwrap(), None);
        assert!(size("memory", &some("100X")).unwrap_err().text.starts_with("invalid value for memory: "));
        assert_eq!(number::<i64>("cpu-quota", &some("-5")).unwrap(), Some(-5));
        let error = number::<u64>("cpu-period", &some("-5")).unwrap_err().text;
        assert!(error.starts_with("invalid value for cpu-period: \"-5\""), "{error}");
    }
}
