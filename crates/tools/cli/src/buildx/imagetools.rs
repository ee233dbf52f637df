//! `buildx imagetools`: images in registries, looked at and joined without pulling them.

pub mod create {
    use api::images::NewIndex;

    use crate::context::Cli;
    use crate::error::Error;
    use crate::registry::credentials;
    use crate::verbs::Outcome;

    #[derive(clap::Args)]
    pub struct Args {
        /// Annotate the index, as [index:]key=value
        #[arg(long)]
        annotation: Vec<String>,
        /// Keep what the name stands for now
        #[arg(long)]
        append: bool,
        /// Builder to use; there is one, "default"
        #[arg(long)]
        builder: Option<String>,
        /// Print the index and send nothing
        #[arg(long)]
        dry_run: bool,
        /// Read a source from a file
        #[arg(short, long)]
        file: Vec<String>,
        /// Make an index also of a single image
        #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
        prefer_index: bool,
        /// Kind of progress: "auto", "plain" or "quiet"
        #[arg(long)]
        progress: Option<String>,
        /// Name of the index; may be repeated
        #[arg(short, long)]
        tag: Vec<String>,
        args: Vec<String>,
    }

    pub async fn run(cli: &Cli, args: Args) -> Outcome {
        super::super::builders::only(args.builder.as_deref())?;
        if args.tag.is_empty() && !args.dry_run {
            return Err(Error::new("can't push without a tag: name it with --tag, or use --dry-run"));
        }
        let mut sources = args.args.clone();
        for file in &args.file {
            let text = String::from_utf8_lossy(&cli.read(file)?).into_owned();
            sources.extend(text.split_whitespace().map(str::to_owned));
        }
        let annotation = |text: &String| {
            let text = text.strip_prefix("index:").unwrap_or(text);
            let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
            let pair = pair.map(|(key, value)| (key.to_owned(), value.to_owned()));
            pair.ok_or_else(|| {
                Error::new(format!("invalid annotation {}: expected key=value", template::quote(text)))
            })
        };
        let new = NewIndex {
            targets: args.tag,
            sources,
            append: args.append,
            annotations: args.annotation.iter().map(annotation).collect::<Result<_, _>>()?,
            plain: !args.prefer_index,
            dry_run: args.dry_run,
        };
        let made = client::images::create_index(cli.client()?, &new, &credentials::all(cli)?).await?;
        if new.dry_run {
            return cli.println(&made.raw).map(|()| 0);
        }
        let digest = made.descriptor.map(|descriptor| descriptor.digest.to_string()).unwrap_or_default();
        if !matches!(args.progress.as_deref(), Some("quiet" | "none")) {
            for target in &new.targets {
                cli.complain(&format!("pushed {digest} to {target}"));
            }
        }
        Ok(0)
    }
}

pub mod inspect {
    use api::images::RemoteImage;
    use oci::Reference;
    use serde_json::{Value, json};

    use crate::context::Cli;
    use crate::error::Error;
    use crate::registry::credentials;
    use crate::verbs::Outcome;

    #[derive(clap::Args)]
    pub struct Args {
        /// Builder to use; there is one, "default"
        #[arg(long)]
        builder: Option<String>,
        /// Print by a Go template: .Name, .Manifest
        #[arg(long)]
        format: Option<String>,
        /// Print the document as it is
        #[arg(long)]
        raw: bool,
        args: Vec<String>,
    }

    pub async fn run(cli: &Cli, args: Args) -> Outcome {
        super::super::builders::only(args.builder.as_deref())?;
        let name = Reference::parse(&args.args[0]).map_err(|error| Error::new(error.to_string()))?;
        let auth = credentials::lookup(cli, &name.domain)?.unwrap_or_default();
        let found = client::images::remote(cli.client()?, &args.args[0], &auth).await?;
        if args.raw {
            return cli.print(&found.raw).map(|()| 0);
        }
        let manifest = manifest(&found)?;
        if let Some(format) = &args.format {
            let data = json!({ "Name": found.name, "Manifest": manifest });
            let text = template::render(format, &data).map_err(|error| Error::new(error.to_string()))?;
            return cli.println(&text).map(|()| 0);
        }
        cli.print(&described(&found.name, &manifest)).map(|()| 0)
    }

    /// The document with its own descriptor, as buildx gives it to templates.
    fn manifest(found: &RemoteImage) -> Result<Value, Error> {
        let mut manifest: Value =
            serde_json::from_str(&found.raw).map_err(|error| Error::new(error.to_string()))?;
        if let Some(descriptor) = &found.descriptor {
            manifest["digest"] = descriptor.digest.to_string().into();
            manifest["size"] = descriptor.size.into();
            manifest["mediaType"] = descriptor.media_type.clone().into();
        }
        Ok(manifest)
    }

    fn described(name: &str, manifest: &Value) -> String {
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut out = format!(
            "Name:      {name}\nMediaType: {}\nDigest:    {}\n",
            word(&manifest["mediaType"]),
            word(&manifest["digest"])
        );
        let Some(members) = manifest["manifests"].as_array() else { return out };
        out.push_str("           \nManifests: \n");
        let plain = name.split('@').next().unwrap_or_default();
        for (number, member) in members.iter().enumerate() {
            if number > 0 {
                out.push_str("             \n");
            }
            out.push_str(&format!(
                "  Name:        {plain}@{}\n  MediaType:   {}\n",
                word(&member["digest"]),
                word(&member["mediaType"])
            ));
            let platform = &member["platform"];
            if let Some(os) = platform["os"].as_str() {
                let variant = platform["variant"].as_str().map(|v| format!("/{v}")).unwrap_or_default();
                out.push_str(&format!("  Platform:    {os}/{}{variant}\n", word(&platform["architecture"])));
            }
            for (key, value) in member["annotations"].as_object().into_iter().flatten() {
                out.push_str(&format!("  Annotations: {key}: {}\n", word(value)));
            }
        }
        out
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn members_are_listed() {
            let manifest = json!({
                "mediaType": "index", "digest": "sha256:1",
                "manifests": [{ "digest": "sha256:2", "mediaType": "m", "platform": { "os": "linux", "architecture": "arm", "variant": "v7" } }],
            });
            let text = described("h/a:1", &manifest);
            assert!(
                text.contains("  Name:        h/a:1@sha256:2\n") && text.contains("linux/arm/v7"),
                "{text}"
            );
        }
    }
}
