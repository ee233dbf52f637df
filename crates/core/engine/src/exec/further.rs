//! What further processes take of their container's definition.

use monitor::Further;

use crate::containers::record::Record;
use crate::error::Result;
use crate::spec::{self, SecurityOptions};

/// The part of a definition that its monitor keeps for them; `apparmor` is whether the machine has it.
pub(crate) fn further(record: &Record, apparmor: bool) -> Result<Further> {
    let (config, host) = (&record.document.config, &record.document.host_config);
    let options = SecurityOptions::parse(&host.security_opt)?;
    Ok(Further {
        user: config.user.clone(),
        groups: host.group_add.clone(),
        hostname: record.hostname().to_owned(),
        env: config.env.clone(),
        working_dir: config.working_dir.clone(),
        cap_add: host.cap_add.as_slice().to_vec(),
        cap_drop: host.cap_drop.as_slice().to_vec(),
        privileged: host.privileged,
        no_new_privileges: options.no_new_privileges,
        rlimits: spec::rlimits(&host.resources.ulimits),
        oom_score_adj: host.oom_score_adj as i32,
        apparmor_profile: options.apparmor(apparmor)?,
    })
}
