use api::containers::PortBinding;

use crate::context::Cli;
use crate::error::Error;
use crate::options::port::split_protocol;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let inspect = client::containers::inspect(cli.client()?, &args.args[0], false).await?;
    let ports = inspect.network_settings.ports;
    if let Some(wanted) = args.args.get(1) {
        let (number, protocol) = split_protocol(wanted);
        if number.parse::<u16>().is_err() {
            return Err(Error::new(format!("Error: invalid port ({wanted})")));
        }
        let Some(Some(bindings)) = ports.get(&format!("{number}/{protocol}")) else {
            let container = &args.args[0];
            return Err(Error::new(format!("Error: No public port '{wanted}' published for {container}")));
        };
        for binding in bindings {
            cli.println(&shown(binding))?;
        }
        return Ok(0);
    }
    let mut ports: Vec<_> = ports.into_iter().collect();
    ports.sort_by_key(|(port, _)| {
        let (number, protocol) = split_protocol(port);
        (number.parse::<u16>().unwrap_or(0), protocol)
    });
    for (port, bindings) in ports {
        for binding in bindings.unwrap_or_default() {
            cli.println(&format!("{port} -> {}", shown(&binding)))?;
        }
    }
    Ok(0)
}

fn shown(binding: &PortBinding) -> String {
    match binding.host_ip.contains(':') {
        true => format!("[{}]:{}", binding.host_ip, binding.host_port),
        false => format!("{}:{}", binding.host_ip, binding.host_port),
    }
}
