//! What further processes take of their container's definition.

use monitor::Further;

use crate::containers::record::Record;
use crate::error::Result;
use crate::spec::SecurityOptions;

/// The part of a definition that its monitor keeps for them.
pub(crate) fn further(record: &Record) -> Result<Further> {
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
    })
}
