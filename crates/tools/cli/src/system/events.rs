use api::events::{EventMessage, EventsOptions};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use template::{Options, Template};

use crate::context::Cli;
use crate::error::Error;
use crate::format::text::printable;
use crate::format::time::moment;
use crate::options::filter;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Only what matches, such as "type=container" or "event=die"
    #[arg(short, long, value_name = "filter", value_parser = filter::check)]
    filter: Vec<String>,
    /// Print by a Go template, or "json"
    #[arg(long)]
    format: Option<String>,
    /// Begin at this time: a date, a Unix time, or a duration ago such as "10m"
    #[arg(long)]
    since: Option<String>,
    /// End at this time
    #[arg(long)]
    until: Option<String>,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let template = template(args.format.as_deref())?;
    let now = Timestamp::now();
    let time = |text: Option<String>| moment(text.as_deref().unwrap_or_default(), now).map_err(Error::new);
    let options = EventsOptions {
        since: time(args.since)?,
        until: time(args.until)?,
        filters: filter::parse(&args.filter),
    };
    let mut events = client::system::events(cli.client()?, &options).await?;
    while let Some(event) = events.next().await {
        let event = event?;
        match &template {
            None => cli.println(&printable(&line(&event, &TimeZone::system())))?,
            Some(template) => cli.println(&template.execute(&document(&event)?).map_err(Error::template)?)?,
        }
    }
    Ok(0)
}

/// What the format means; it is tried before there is any event.
fn template(format: Option<&str>) -> Result<Option<Template>, Error> {
    let Some(text) = format.filter(|format| !format.is_empty()) else { return Ok(None) };
    let options = Options {
        zero: Some(|field| match field {
            "Status" | "ID" | "From" | "Scope" => Some("".into()),
            // An attribute: fields have names in upper case.
            field => field.starts_with(|first: char| first.is_lowercase()).then(|| "<no value>".into()),
        }),
        ..Options::default()
    };
    let text = if text == "json" { "{{json .}}" } else { text };
    let nothing = document(&EventMessage::default())?;
    let template = Template::parse_with(text, options)
        .and_then(|template| template.execute(&nothing).map(|_| template))
        .map_err(|error| Error::with_code(format!("Error parsing format: {error}"), 64))?;
    Ok(Some(template))
}

fn document(event: &EventMessage) -> Result<serde_json::Value, Error> {
    serde_json::to_value(event).map_err(|error| Error::new(error.to_string()))
}

/// `2024-01-02T03:04:05.000000000Z container start <id> (image=alpine, name=web)`.
fn line(event: &EventMessage, zone: &TimeZone) -> String {
    let nanos =
        if event.time_nano != 0 { event.time_nano.into() } else { i128::from(event.time) * 1_000_000_000 };
    let at = Timestamp::from_nanosecond(nanos).unwrap_or_default().to_zoned(zone.clone());
    let offset = if at.offset().is_zero() { "Z".to_owned() } else { at.strftime("%:z").to_string() };
    let mut out = format!(
        "{}{offset} {} {} {}",
        at.strftime("%Y-%m-%dT%H:%M:%S.%9f"),
        event.typ,
        event.action,
        event.actor.id
    );
    if !event.actor.attributes.is_empty() {
        let pairs: Vec<String> =
            event.actor.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
        out.push_str(&format!(" ({})", pairs.join(", ")));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_tried_before_there_is_an_event() {
        for wrong in ["{{", "{{.Nope}}", "{{json}}", "{{.ID.x}}"] {
            let error = template(Some(wrong)).map(drop).unwrap_err();
            assert!(error.message.starts_with("Error parsing format: template: :1"), "{wrong}: {error}");
            assert_eq!(error.code, 64);
        }
        for good in ["json", "{{.Actor.Attributes.name}} {{.ID}} {{.Status}}", "{{json .}}", "plain"] {
            assert!(template(Some(good)).unwrap().is_some(), "{good}");
        }
        assert!(template(None).unwrap().is_none() && template(Some("")).unwrap().is_none());
    }

    #[test]
    fn lines() {
        let event: EventMessage = serde_json::from_value(serde_json::json!({
            "Type": "container", "Action": "start", "Actor": {"ID": "abc", "Attributes": {"name": "web", "image": "alpine"}},
            "time": 1704164645, "timeNano": 1704164645000000001_i64
        }))
        .unwrap();
        assert_eq!(
            line(&event, &TimeZone::UTC),
            "2024-01-02T03:04:05.000000001Z container start abc (image=alpine, name=web)"
        );
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        assert!(line(&event, &zone).starts_with("2024-01-02T05:04:05.000000001+02:00 "));
    }
}
