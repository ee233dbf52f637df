//! `linux.memoryPolicy`: from which memory nodes memory comes (set_mempolicy(2)). The numbers are the kernel's
//! (`linux/mempolicy.h`).

use oci::runtime::MemoryPolicy;
use sys::child::Step;

use crate::plan::Plan;
use crate::{Error, bits};

const MODES: [(&str, i32); 7] = [
    ("MPOL_DEFAULT", 0),
    ("MPOL_PREFERRED", 1),
    ("MPOL_BIND", 2),
    ("MPOL_INTERLEAVE", 3),
    ("MPOL_LOCAL", 4),
    ("MPOL_PREFERRED_MANY", 5),
    ("MPOL_WEIGHTED_INTERLEAVE", 6),
];

const FLAGS: [(&str, i32); 3] = [
    ("MPOL_F_STATIC_NODES", 1 << 15),
    ("MPOL_F_RELATIVE_NODES", 1 << 14),
    ("MPOL_F_NUMA_BALANCING", 1 << 13),
];

/// The names of modes and flags.
pub(crate) fn names() -> (Vec<String>, Vec<String>) {
    let list = |table: &[(&str, i32)]| table.iter().map(|(name, _)| (*name).to_owned()).collect();
    (list(&MODES), list(&FLAGS))
}

fn number(table: &[(&str, i32)], name: &str) -> Result<i32, Error> {
    let found = table.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    found.ok_or_else(|| Error::Spec { reason: format!("memoryPolicy: {name:?} is unknown") })
}

pub(crate) fn plan(policy: &MemoryPolicy, plan: &mut Plan) -> Result<(), Error> {
    let mut mode = number(&MODES, &policy.mode)?;
    for flag in &policy.flags {
        mode |= number(&FLAGS, flag)?;
    }
    let nodes = match policy.nodes.as_str() {
        "" => Vec::new(),
        list => bits::parse(list, "memoryPolicy: nodes")?,
    };
    plan.push(format!("set memory policy {}", policy.mode), Step::MemoryPolicy { mode, nodes });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(mode: &str, flags: &[&str]) -> Result<Plan, Error> {
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let policy = MemoryPolicy { mode: mode.to_owned(), nodes: "0".to_owned(), flags };
        let mut list = Plan::default();
        plan(&policy, &mut list).map(|()| list)
    }

    #[test]
    fn names_become_numbers() {
        let list = planned("MPOL_BIND", &["MPOL_F_STATIC_NODES"]).unwrap();
        assert!(
            matches!(list.steps.as_slice(), [Step::MemoryPolicy { mode: 0x8002, nodes }] if *nodes == [1]),
            "{list:?}"
        );
        assert!(planned("MPOL_NONE", &[]).is_err());
        assert!(planned("MPOL_BIND", &["MPOL_F_NONE"]).is_err());
    }
}
