use api::containers::Resources;

use crate::flags::integer;
use crate::format::units::{nano_cpus, ram_in_bytes, swap_bytes};

/// Limits that `run`, `create` and `update` share.
#[derive(clap::Args)]
pub struct Limits {
    /// Share of block input and output, 10 to 1000; 0 switches it off
    #[arg(long, value_name = "uint16")]
    pub blkio_weight: Option<u16>,
    /// Length of the CPU scheduler's period, in microseconds
    #[arg(long, value_name = "int", value_parser = integer)]
    pub cpu_period: Option<i64>,
    /// CPU time in a period, in microseconds
    #[arg(long, value_name = "int", value_parser = integer)]
    pub cpu_quota: Option<i64>,
    /// Length of the real-time scheduler's period, in microseconds
    #[arg(long, value_name = "int", value_parser = integer)]
    pub cpu_rt_period: Option<i64>,
    /// Real-time CPU time in a period, in microseconds
    #[arg(long, value_name = "int", value_parser = integer)]
    pub cpu_rt_runtime: Option<i64>,
    /// Share of the CPUs in relation to other containers
    #[arg(short, long, value_name = "int", value_parser = integer)]
    pub cpu_shares: Option<i64>,
    /// Number of CPUs, such as 1.5
    #[arg(long, value_name = "decimal", value_parser = nano_cpus)]
    pub cpus: Option<i64>,
    /// CPUs to run on, such as 0-3 or 0,1
    #[arg(long)]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes to use, such as 0-3 or 0,1
    #[arg(long)]
    pub cpuset_mems: Option<String>,
    /// Most memory to use, such as 512m
    #[arg(short, long, value_name = "bytes", value_parser = ram_in_bytes)]
    pub memory: Option<i64>,
    /// Memory to keep below when the machine is short of it
    #[arg(long, value_name = "bytes", value_parser = ram_in_bytes)]
    pub memory_reservation: Option<i64>,
    /// Most memory and swap together; -1 does not limit swap
    #[arg(long, value_name = "bytes", value_parser = swap_bytes)]
    pub memory_swap: Option<i64>,
    /// Most processes; -1 is no limit
    #[arg(long, value_name = "int", value_parser = integer)]
    pub pids_limit: Option<i64>,
}

impl Limits {
    pub fn resources(&self) -> Resources {
        Resources {
            cpu_shares: self.cpu_shares.unwrap_or_default(),
            memory: self.memory.unwrap_or_default(),
            nano_cpus: self.cpus.unwrap_or_default(),
            blkio_weight: self.blkio_weight.unwrap_or_default(),
            cpu_period: self.cpu_period.unwrap_or_default(),
            cpu_quota: self.cpu_quota.unwrap_or_default(),
            cpu_realtime_period: self.cpu_rt_period.unwrap_or_default(),
            cpu_realtime_runtime: self.cpu_rt_runtime.unwrap_or_default(),
            cpuset_cpus: self.cpuset_cpus.clone().unwrap_or_default(),
            cpuset_mems: self.cpuset_mems.clone().unwrap_or_default(),
            memory_reservation: self.memory_reservation.unwrap_or_default(),
            memory_swap: self.memory_swap.unwrap_or_default(),
            pids_limit: self.pids_limit,
            ..Resources::default()
        }
    }
}
