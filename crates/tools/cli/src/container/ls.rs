use api::containers::{ListOptions, Summary, SummaryPort};
use jiff::Timestamp;
use oci::Reference;
use serde_json::{Map, Value};

use crate::context::Cli;
use crate::flags::integer;
use crate::format::listing::LABELS;
use crate::format::text::{ellipsis, pairs, short_id};
use crate::format::units::human_size_with;
use crate::format::{Listing, time};
use crate::options::filter;
use crate::settings;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Also containers that do not run
    #[arg(short, long)]
    all: bool,
    /// Only what matches, such as "status=exited", "name=web" or "ancestor=nginx"
    #[arg(short, long, value_name = "filter", value_parser = filter::check)]
    filter: Vec<String>,
    /// Print by a Go template, "table", "table TEMPLATE" or "json"
    #[arg(long)]
    format: Option<String>,
    /// Only so many, the latest first, whatever their state
    #[arg(short = 'n', long, value_name = "int", value_parser = integer)]
    last: Option<i64>,
    /// Only the latest, whatever its state
    #[arg(short, long)]
    latest: bool,
    /// Do not shorten ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
    /// Also measure the containers' files
    #[arg(short, long)]
    size: bool,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let format = settings::format(cli, args.format, args.quiet, "psFormat")?;
    let listing = listing(args.size);
    listing.check(format.as_deref(), args.quiet)?;
    let size = args.size || format.as_deref().is_some_and(|format| format.contains(".Size"));
    let limit = if args.latest { 1 } else { args.last.unwrap_or(-1).max(0) };
    let options =
        ListOptions { all: args.all || limit > 0, limit, size, filters: filter::parse(&args.filter) };
    let containers = client::containers::list(cli.client()?, &options).await?;
    let now = Timestamp::now();
    let rows: Vec<_> = containers.iter().map(|container| row(container, !args.no_trunc, now)).collect();
    cli.print(&listing.render(format.as_deref(), args.quiet, &rows)?)?;
    Ok(0)
}

/// How containers are listed.
pub fn listing(size: bool) -> Listing {
    let mut table =
        "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}".to_owned();
    if size {
        table.push_str("\t{{.Size}}");
    }
    Listing {
        table,
        quiet: "{{.ID}}",
        raw: "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\nstate: \
              {{.State}}\nstatus: {{.Status}}\nnames: {{.Names}}\nlabels: {{.Labels}}\nports: {{.Ports}}\n",
        columns: &[
            ("ID", "CONTAINER ID"),
            ("Names", "NAMES"),
            ("Image", "IMAGE"),
            ("Command", "COMMAND"),
            ("CreatedAt", "CREATED AT"),
            ("RunningFor", "CREATED"),
            ("Ports", "PORTS"),
            ("State", "STATE"),
            ("Status", "STATUS"),
            ("Size", "SIZE"),
            ("Labels", "LABELS"),
            ("Mounts", "MOUNTS"),
            ("LocalVolumes", "LOCAL VOLUMES"),
            ("Networks", "NETWORKS"),
        ],
        labels: true,
    }
}

/// One container's fields.
pub fn row(container: &Summary, short: bool, now: Timestamp) -> Map<String, Value> {
    let created = Timestamp::from_second(container.created).unwrap_or_default();
    let command = if short { ellipsis(&container.command, 20) } else { container.command.clone() };
    let id = if short { short_id(&container.id) } else { &container.id };
    let mounts: Vec<String> = container
        .mounts
        .iter()
        .map(|mount| {
            let name = if mount.name.is_empty() { &mount.source } else { &mount.name };
            if short { ellipsis(name, 15) } else { name.clone() }
        })
        .collect();
    let volumes = container.mounts.iter().filter(|mount| mount.driver == "local").count();
    let networks: Vec<&str> = container.network_settings.networks.keys().map(String::as_str).collect();
    let mut size = human_size_with(container.size_rw as f64, 3);
    if container.size_root_fs > 0 {
        size.push_str(&format!(" (virtual {})", human_size_with(container.size_root_fs as f64, 3)));
    }
    crate::row! {
        "ID": id,
        "Names": names(container, short),
        "Image": image(container, short),
        "Command": template::quote(&command),
        "CreatedAt": time::go_string(created),
        "RunningFor": time::ago(now, created),
        "Ports": ports(&container.ports),
        "State": container.state,
        "Status": container.status,
        "Size": size,
        "Labels": pairs(&container.labels),
        "Mounts": mounts.join(","),
        "LocalVolumes": volumes.to_string(),
        "Networks": networks.join(","),
        LABELS: container.labels,
    }
}

/// Names without the leading slash; names of links (`other/alias`) only when nothing is shortened.
fn names(container: &Summary, short: bool) -> String {
    let names: Vec<&str> =
        container.names.iter().map(|name| name.strip_prefix('/').unwrap_or(name)).collect();
    match names.iter().find(|name| short && !name.contains('/')) {
        Some(name) => (*name).to_owned(),
        None => names.join(","),
    }
}

fn image(container: &Summary, short: bool) -> String {
    if container.image.is_empty() {
        return "<no image>".to_owned();
    }
    if !short {
        return container.image.clone();
    }
    if short_id(&container.image) == short_id(&container.image_id) {
        return short_id(&container.image).to_owned();
    }
    match Reference::parse_name(&container.image) {
        Ok(reference) => Reference { digest: None, ..reference }.familiar(),
        Err(_) => container.image.clone(),
    }
}

/// `0.0.0.0:8080->80/tcp, 443/tcp`; ports that follow each other are one range.
pub fn ports(ports: &[SummaryPort]) -> String {
    let mut sorted: Vec<&SummaryPort> = ports.iter().collect();
    sorted.sort_by(|a, b| {
        (a.private_port, &a.ip, a.public_port, &a.typ).cmp(&(b.private_port, &b.ip, b.public_port, &b.typ))
    });
    let mut done: Vec<String> = Vec::new();
    let mut open: Vec<(String, &str, u16, u16)> = Vec::new();
    let mut mapped = Vec::new();
    for port in sorted {
        if !port.ip.is_empty() && port.public_port != port.private_port {
            let host = address(&port.ip, &port.public_port.to_string());
            mapped.push(format!("{host}->{}/{}", port.private_port, port.typ));
            continue;
        }
        match open.iter_mut().find(|(ip, protocol, ..)| *ip == port.ip && *protocol == port.typ) {
            None => open.push((port.ip.clone(), &port.typ, port.private_port, port.private_port)),
            Some((.., last)) if port.private_port == last.saturating_add(1) => *last = port.private_port,
            Some(group) => {
                done.push(range(&group.0, group.1, group.2, group.3));
                (group.2, group.3) = (port.private_port, port.private_port);
            }
        }
    }
    done.extend(open.iter().map(|(ip, protocol, first, last)| range(ip, protocol, *first, *last)));
    done.extend(mapped);
    done.join(", ")
}

fn range(ip: &str, protocol: &str, first: u16, last: u16) -> String {
    let ports = if first == last { first.to_string() } else { format!("{first}-{last}") };
    match ip {
        "" => format!("{ports}/{protocol}"),
        ip => format!("{}->{ports}/{protocol}", address(ip, &ports)),
    }
}

fn address(ip: &str, port: &str) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(ip: &str, public: u16, private: u16, protocol: &str) -> SummaryPort {
        SummaryPort { ip: ip.into(), private_port: private, public_port: public, typ: protocol.into() }
    }

    #[test]
    fn port_cells() {
        let cases: &[(&[SummaryPort], &str)] = &[
            (&[port("", 0, 80, "tcp")], "80/tcp"),
            (&[port("0.0.0.0", 8080, 80, "tcp")], "0.0.0.0:8080->80/tcp"),
            (&[port("0.0.0.0", 80, 80, "tcp"), port("0.0.0.0", 81, 81, "tcp")], "0.0.0.0:80-81->80-81/tcp"),
            (&[port("", 0, 443, "tcp"), port("::", 8080, 80, "tcp")], "443/tcp, [::]:8080->80/tcp"),
            (
                &[port("", 0, 53, "udp"), port("", 0, 53, "tcp"), port("", 0, 55, "tcp")],
                "53/tcp, 55/tcp, 53/udp",
            ),
        ];
        for (list, want) in cases {
            assert_eq!(ports(list), *want);
        }
    }

    #[test]
    fn table_of_containers() {
        let container = Summary {
            id: "0123456789abcdef0123".into(),
            names: vec!["/web".into(), "/other/alias".into()],
            image: "nginx:1.25@sha256:0000000000000000000000000000000000000000000000000000000000000000"
                .into(),
            image_id: "sha256:ffff".into(),
            command: "/docker-entrypoint.sh nginx -g 'daemon off;'".into(),
            created: 1_700_000_000,
            ports: vec![port("0.0.0.0", 8080, 80, "tcp")],
            state: "running".into(),
            status: "Up 2 minutes".into(),
            ..Summary::default()
        };
        let now = Timestamp::from_second(1_700_000_125).unwrap();
        let text = listing(false).render(None, false, &[row(&container, true, now)]).unwrap();
        assert_eq!(
            text,
            "CONTAINER ID   IMAGE        COMMAND                  CREATED         STATUS         PORTS                  NAMES\n\
             0123456789ab   nginx:1.25   \"/docker-entrypoint.…\"   2 minutes ago   Up 2 minutes   0.0.0.0:8080->80/tcp   web\n"
        );
    }
}
