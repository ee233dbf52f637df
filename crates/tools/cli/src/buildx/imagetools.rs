//! `buildx imagetools`: images in registries, looked at and joined without pulling them.

pub mod create {
    use std::collections::BTreeMap;

    use api::images::{MemberAnnotation, NewIndex};
    use oci::annotation::{Annotation, Level};
    use serde_json::json;

    use crate::buildx::Plugin;
    use crate::context::Cli;
    use crate::error::Error;
    use crate::registry::credentials;
    use crate::verbs::Outcome;

    #[derive(clap::Args)]
    pub struct Args {
        /// Annotate the index or its lines, as [index:|manifest-descriptor[platform]:]key=value
        #[arg(long)]
        annotation: Vec<String>,
        /// Keep what the name stands for now
        #[arg(long)]
        append: bool,
        #[command(flatten)]
        plugin: Plugin,
        /// Print the index and send nothing
        #[arg(long)]
        dry_run: bool,
        /// Read a source from a file: a descriptor, a digest or a name
        #[arg(short, long)]
        file: Vec<String>,
        /// Write what was made to this file
        #[arg(long)]
        metadata_file: Option<String>,
        /// Only members for these platforms
        #[arg(short, long, value_delimiter = ',')]
        platform: Vec<String>,
        /// Make an index also of a single image
        #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = crate::flags::boolean)]
        prefer_index: bool,
        /// Kind of progress: "auto", "plain", "tty", "rawjson", "quiet" or "none"
        #[arg(long)]
        progress: Option<String>,
        /// Bring along what is attached to what is copied: signatures, lists of packages
        #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = crate::flags::boolean)]
        referrers: bool,
        /// Name of the index; may be repeated
        #[arg(short, long)]
        tag: Vec<String>,
        args: Vec<String>,
    }

    /// What is said of an index and of its lines.
    #[derive(Debug, Default, PartialEq)]
    struct Notes {
        index: BTreeMap<String, String>,
        members: Vec<MemberAnnotation>,
    }

    impl Notes {
        /// Reads `[index,manifest-descriptor[platform]:]key=value`.
        fn add(&mut self, text: &str) -> Result<(), Error> {
            for Annotation { level, platform, key, value } in
                Annotation::parse(text, Level::Index).map_err(Error::new)?
            {
                match level {
                    Level::Index => drop(self.index.insert(key, value)),
                    Level::ManifestDescriptor => {
                        let platform = platform.map(|platform| platform.to_string()).unwrap_or_default();
                        self.members.push(MemberAnnotation { platform, key, value });
                    }
                    Level::Manifest | Level::IndexDescriptor => {
                        return Err(Error::new(format!(
                            "invalid annotation {}: an index and its lines are made, no manifests: index or manifest-descriptor before the colon",
                            template::quote(text)
                        )));
                    }
                }
            }
            Ok(())
        }
    }

    pub async fn run(cli: &Cli, args: Args) -> Outcome {
        args.plugin.check(cli)?;
        if args.tag.is_empty() && !args.dry_run {
            return Err(Error::new("can't push with no tags specified, please set --tag or --dry-run"));
        }
        let says = match args.progress.as_deref() {
            None | Some("auto" | "plain" | "tty") => true,
            Some("quiet" | "none" | "rawjson") => false,
            Some(other) => return Err(Error::new(format!("invalid progress mode {other}"))),
        };
        let mut sources = Vec::new();
        for file in &args.file {
            sources.push(String::from_utf8_lossy(&cli.read(file)?).trim().to_owned());
        }
        sources.extend(args.args.iter().cloned());
        if sources.is_empty() && !args.append {
            return Err(Error::new("no sources specified"));
        }
        let mut notes = Notes::default();
        args.annotation.iter().try_for_each(|text| notes.add(text))?;
        let new = NewIndex {
            targets: args.tag,
            sources,
            append: args.append,
            annotations: notes.index,
            member_annotations: notes.members,
            platforms: args.platform,
            plain: !args.prefer_index,
            without_attached: !args.referrers,
            dry_run: args.dry_run,
            ..NewIndex::default()
        };
        let made = client::images::create_index(cli.client()?, &new, &credentials::all(cli)?).await?;
        if new.dry_run {
            return cli.println(&made.raw).map(|()| 0);
        }
        if let Some(path) = &args.metadata_file {
            let digest = made.descriptor.as_ref().map(|descriptor| descriptor.digest.to_string());
            let document = json!({
                "containerimage.descriptor": made.descriptor,
                "containerimage.digest": digest,
                "image.name": new.targets.join(","),
            });
            cli.write_file(path, &crate::system::inspect::pretty(&document)?)
                .map_err(|error| Error::file("write", path, &error))?;
        }
        let digest = made.descriptor.map(|descriptor| descriptor.digest.to_string()).unwrap_or_default();
        for target in new.targets.iter().filter(|_| says) {
            cli.complain(&format!("pushed {digest} to {target}"));
        }
        Ok(0)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn notes_have_levels() {
            let mut notes = Notes::default();
            for text in [
                "a=1",
                "index:b:c=2",
                "index,manifest-descriptor[linux/arm64]:d=3",
                "manifest-descriptor:e=4",
            ] {
                notes.add(text).unwrap();
            }
            assert_eq!(notes.index.keys().collect::<Vec<_>>(), ["a", "b:c", "d"]);
            let members: Vec<_> =
                notes.members.iter().map(|note| (note.platform.as_str(), note.key.as_str())).collect();
            assert_eq!(members, [("linux/arm64", "d"), ("", "e")]);
            for wrong in ["a", "=1", "index:=1", "manifest:a=1", "manifest-descriptor[x/y/z/w]:a=1"] {
                assert!(notes.add(wrong).is_err(), "{wrong}");
            }
        }
    }
}

pub mod inspect {
    use std::collections::BTreeMap;

    use api::images::{RemoteImage, RemoteOptions};
    use oci::Reference;
    use serde_json::{Value, json};
    use template::{Options, Template};

    use crate::buildx::Plugin;
    use crate::context::Cli;
    use crate::error::Error;
    use crate::registry::credentials;
    use crate::verbs::Outcome;

    #[derive(clap::Args)]
    pub struct Args {
        #[command(flatten)]
        plugin: Plugin,
        /// Print by a Go template: .Name, .Manifest, .Image, .Provenance, .SBOM
        #[arg(long)]
        format: Option<String>,
        /// Print the document as it is
        #[arg(long)]
        raw: bool,
        args: Vec<String>,
    }

    pub async fn run(cli: &Cli, args: Args) -> Outcome {
        args.plugin.check(cli)?;
        let name = Reference::parse(&args.args[0]).map_err(|error| Error::new(error.to_string()))?;
        let auth = credentials::lookup(cli, &name.domain)?.unwrap_or_default();
        let format = args.format.as_deref().filter(|format| !format.is_empty());
        let all = ["Image", "SBOM", "Provenance", "json"];
        let details = format.is_some_and(|format| all.iter().any(|word| format.contains(word)));
        let options = RemoteOptions { details: details && !args.raw, insecure: false };
        let found = client::images::remote(cli.client()?, &args.args[0], &options, &auth).await?;
        if args.raw {
            return match format {
                Some(_) => Err(Error::new("format and raw cannot be used together")),
                None => cli.print(&found.raw).map(|()| 0),
            };
        }
        let manifest = manifest(&found)?;
        if let Some(format) = format {
            let text = match format.split_whitespace().collect::<String>().as_str() {
                "json" | "{{json.}}" => indented(&told(&found, &manifest))?,
                _ => {
                    let options = Options { indent: true, ..Options::default() };
                    Template::parse_with(format, options)
                        .and_then(|template| template.execute(&data(&found, &manifest)))
                        .map_err(|error| Error::new(error.to_string()))?
                }
            };
            return cli.println(&text).map(|()| 0);
        }
        cli.print(&described(&found.name, &manifest)).map(|()| 0)
    }

    fn indented(value: &Value) -> Result<String, Error> {
        serde_json::to_string_pretty(value)
            .map(template::printable_json)
            .map_err(|error| Error::new(error.to_string()))
    }

    /// All in one document.
    fn told(found: &RemoteImage, manifest: &Value) -> Value {
        let mut told = json!({ "name": found.name, "manifest": manifest });
        if !found.images.is_empty() {
            told["image"] = by_platform(&found.images);
        }
        told
    }

    /// What templates get. What is there for one platform stands for itself; of several each has its name.
    fn data(found: &RemoteImage, manifest: &Value) -> Value {
        let (mut provenance, mut sbom) = (BTreeMap::new(), BTreeMap::new());
        for (platform, statements) in &found.attestations {
            let of = |kind: &'static str| {
                let fits = move |statement: &&Value| {
                    statement["predicateType"].as_str().is_some_and(|found| found.starts_with(kind))
                };
                statements.iter().filter(fits).map(|statement| statement["predicate"].clone())
            };
            if let Some(predicate) = of("https://slsa.dev/provenance/").next() {
                provenance.insert(platform.clone(), json!({ "SLSA": predicate }));
            }
            let mut documents = of("https://spdx.dev/Document");
            if let Some(first) = documents.next() {
                let mut entry = json!({ "SPDX": first });
                let more: Vec<Value> = documents.collect();
                if !more.is_empty() {
                    entry["AdditionalSPDXs"] = more.into();
                }
                sbom.insert(platform.clone(), entry);
            }
        }
        let several = found.images.len() > 1;
        let one_or_all = |all: &BTreeMap<String, Value>| match all.values().next() {
            Some(only) if !several => only.clone(),
            None if !several => json!({}),
            _ => json!(all),
        };
        json!({
            "Name": found.name,
            "Manifest": manifest,
            "Image": by_platform(&found.images),
            "Provenance": one_or_all(&provenance),
            "SBOM": one_or_all(&sbom),
        })
    }

    fn by_platform(images: &BTreeMap<String, Value>) -> Value {
        match (images.len(), images.values().next()) {
            (1, Some(only)) => only.clone(),
            _ => json!(images),
        }
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
        fn templates_get_all_by_platform() {
            let statement =
                |kind: &str, what: &str| json!({ "predicateType": kind, "predicate": { "is": what } });
            let slsa = statement("https://slsa.dev/provenance/v1", "slsa");
            let spdx = |what| statement("https://spdx.dev/Document", what);
            let mut found = RemoteImage { name: "h/a:1".into(), ..RemoteImage::default() };
            found.images.insert("linux/amd64".into(), json!({ "os": "linux" }));
            found.attestations.insert("linux/amd64".into(), vec![slsa, spdx("one"), spdx("two")]);
            let one = data(&found, &json!({}));
            assert_eq!(
                (&one["Image"]["os"], &one["Provenance"]["SLSA"]["is"]),
                (&"linux".into(), &"slsa".into())
            );
            assert_eq!(one["SBOM"]["AdditionalSPDXs"][0]["is"], "two");
            found.images.insert("linux/arm64".into(), json!({ "os": "linux" }));
            let two = data(&found, &json!({}));
            assert_eq!(two["SBOM"]["linux/amd64"]["SPDX"]["is"], "one");
            assert_eq!(two["Image"]["linux/arm64"]["os"], "linux");
            assert!(two["Provenance"].get("linux/arm64").is_none());
            assert_eq!(told(&found, &json!({}))["image"]["linux/amd64"]["os"], "linux");
        }

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
