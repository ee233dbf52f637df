//! Networks in CIDR notation.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::{Arguments, Failure, Outcome};
use crate::value::Value;

fn network(text: &str) -> Result<IpNet, String> {
    let network: Result<IpNet, _> = text.parse();
    network
        .map(|network| network.trunc())
        .map_err(|_| format!("invalid CIDR expression: invalid CIDR address: {text}"))
}

/// The first address as a number, and how many bits addresses have.
fn base(network: &IpNet) -> (u128, u32) {
    match network.addr() {
        IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
        IpAddr::V6(address) => (u128::from(address), 128),
    }
}

fn address(number: u128, bits: u32) -> IpAddr {
    match bits {
        32 => Ipv4Addr::from(number as u32).into(),
        _ => Ipv6Addr::from(number).into(),
    }
}

/// The largest number of so many bits.
fn ones(bits: u32) -> u128 {
    1_u128.checked_shl(bits).map_or(u128::MAX, |power| power - 1)
}

pub fn host(a: &Arguments<'_>) -> Outcome {
    let number = a.whole(1)?;
    let network = network(a.text(0))?;
    let (base, bits) = base(&network);
    let length = u32::from(network.prefix_len());
    let last = ones(bits - length);
    let distance = u128::from(number.unsigned_abs());
    let host = match number < 0 {
        true => last.checked_sub(distance - 1),
        false => Some(distance).filter(|host| *host <= last),
    };
    let why = || format!("prefix of {length} does not accommodate a host numbered {number}");
    Ok(address(base | host.ok_or_else(why)?, bits).to_string().into())
}

pub fn netmask(a: &Arguments<'_>) -> Outcome {
    Ok(network(a.text(0))?.netmask().to_string().into())
}

pub fn subnet(a: &Arguments<'_>) -> Outcome {
    let (more, number) = (a.whole(1)?, a.whole(2)?);
    let network = network(a.text(0))?;
    let (base, bits) = base(&network);
    let length = i64::from(network.prefix_len());
    if more > 32 {
        return Err("may not extend prefix by more than 32 bits".into());
    }
    let extended = length + more;
    if more < 0 || extended > i64::from(bits) {
        return Err(format!("insufficient address space to extend prefix of {length} by {more}").into());
    }
    if number < 0 || number as u128 > ones(more as u32) {
        return Err(
            format!("prefix extension of {more} does not accommodate a subnet numbered {number}").into()
        );
    }
    let start = base | (number as u128).checked_shl(bits - extended as u32).unwrap_or(0);
    Ok(format!("{}/{extended}", address(start, bits)).into())
}

/// One subnet after the other, each where the one before ends.
pub fn subnets(a: &Arguments<'_>) -> Outcome {
    let network = network(a.text(0)).map_err(|why| Failure::of(0, why))?;
    let (base, bits) = base(&network);
    let last = base | ones(bits - u32::from(network.prefix_len()));
    let mut free = Some(base);
    let mut all = Vec::new();
    let mut before = String::new();
    for at in 1..a.values.len() {
        let more = a.whole(at).map_err(|why| Failure::of(at, why))?;
        if more < 1 {
            return Err(Failure::of(at, "must extend prefix by at least one bit"));
        }
        if more > 32 {
            return Err(Failure::of(at, "may not extend prefix by more than 32 bits"));
        }
        let length = u32::from(network.prefix_len()) + more as u32;
        if length > bits {
            let kind = if bits == 32 { "IPv4" } else { "IPv6" };
            let why =
                format!("would extend prefix to {length} bits, which is too long for an {kind} address");
            return Err(Failure::of(at, why));
        }
        let size = ones(bits - length);
        let start = free.and_then(|free| free.checked_add(size)).map(|end| end & !size);
        let Some(start) = start.filter(|start| *start <= last) else {
            let why = format!(
                "not enough remaining address space for a subnet with a prefix of {length} bits after {before}"
            );
            return Err(Failure::of(at, why));
        };
        before = format!("{}/{length}", address(start, bits));
        free = (start | size).checked_add(1);
        all.push(before.clone());
    }
    Ok(Value::strings(all))
}
