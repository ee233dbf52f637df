//! `system df -v`: each object with what it takes, as tables, as JSON, or by a template that sees all of them as `.Images`,
//! `.Containers`, `.Volumes` and `.BuildCache`, with the fields that the lists of each have.

use api::build::CacheRecord;
use api::system::{DiskShare, DiskUsage};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::error::Error;
use crate::format::listing::{self, Listing};
use crate::format::text::short_id;
use crate::format::time::{ago, go_string_utc};
use crate::format::units::{human_size, human_size_with};
use crate::{container, image, volume};

type Rows = Vec<Map<String, Value>>;

/// All objects, each kind in its own way.
struct Objects {
    images: Rows,
    containers: Rows,
    volumes: Rows,
    build_cache: Rows,
    /// What each byte is for, which only our servers tell.
    disk: Option<Rows>,
}

/// The whole text. What a table shows is shortened.
pub fn render(usage: &DiskUsage, format: Option<&str>, now: Timestamp) -> Result<String, Error> {
    let format = format.filter(|format| !format.is_empty()).unwrap_or("table");
    let objects = Objects::of(usage, format.starts_with("table"), now);
    match format {
        "table" => tables(&objects, usage),
        "raw" => listing::execute(&raw(), &objects.document()),
        // A document is a line.
        "json" => Ok(listing::execute("{{json .}}", &objects.document())? + "\n"),
        format => {
            listing::execute(format.strip_prefix("table").unwrap_or(format).trim(), &objects.document())
        }
    }
}

impl Objects {
    fn of(usage: &DiskUsage, short: bool, now: Timestamp) -> Objects {
        let mut records: Vec<&CacheRecord> = usage.build_cache.iter().flatten().collect();
        let used = |record: &CacheRecord| record.last_used_at.as_deref().and_then(api::time::parse);
        records.sort_by(|a, b| used(a).cmp(&used(b)).then_with(|| a.id.cmp(&b.id)));
        let containers = usage.containers.iter().flatten().map(|item| {
            // How large the image is isn't the container's.
            container::ls::row(&api::containers::Summary { size_root_fs: 0, ..item.clone() }, short, now)
        });
        Objects {
            images: usage
                .images
                .iter()
                .flatten()
                .map(|item| image::ls::first_row(item, short, now))
                .collect(),
            containers: containers.collect(),
            volumes: usage.volumes.iter().flatten().map(volume::ls::row).collect(),
            build_cache: records.into_iter().map(|record| cache_row(record, short, now)).collect(),
            disk: usage.disk.as_ref().map(|disk| disk.iter().map(share_row).collect()),
        }
    }

    fn document(&self) -> Value {
        let all = |rows: &Rows| Value::Array(rows.iter().map(listing::sorted).collect());
        let mut document = json!({
            "Images": all(&self.images),
            "Containers": all(&self.containers),
            "Volumes": all(&self.volumes),
            "BuildCache": all(&self.build_cache),
        });
        if let Some(disk) = &self.disk {
            document["Disk"] = all(disk);
        }
        document
    }
}

fn cache_row(record: &CacheRecord, short: bool, now: Timestamp) -> Map<String, Value> {
    let at = |text: &str| api::time::parse(text).map(go_string_utc).unwrap_or_default();
    let since = |text: &str| api::time::parse(text).map(|then| ago(now, then)).unwrap_or_default();
    let last = record.last_used_at.as_deref().unwrap_or_default();
    let id = if short { short_id(&record.id) } else { &record.id };
    let parents = record.parents.join(", ");
    crate::row! {
        "ID": format!("{id}{}", if record.in_use { "*" } else { "" }),
        "Parent": if short { short_id(&parents) } else { &parents },
        "CacheType": record.typ,
        "Description": record.description,
        "Size": human_size_with(record.size as f64, 3),
        "CreatedAt": at(&record.created_at),
        "CreatedSince": since(&record.created_at),
        "LastUsedAt": at(last),
        "LastUsedSince": since(last),
        "UsageCount": record.usage_count.to_string(),
        "InUse": record.in_use.to_string(),
        "Shared": record.shared.to_string(),
    }
}

fn share_row(share: &DiskShare) -> Map<String, Value> {
    crate::row! {
        "Kind": share.kind,
        "Files": share.files.to_string(),
        "Size": human_size_with(share.size as f64, 3),
        "Purpose": share.purpose,
    }
}

/// `--format raw`: the raw form of each list, one after the other.
fn raw() -> String {
    let of = |name: &str, kind: &str, form: &str| {
        format!("{{{{range .{name}}}}}type: {kind}\n{form}\n{{{{end -}}}}\n")
    };
    let cache = "build_cache_id: {{.ID}}\nparent_id: {{.Parent}}\nbuild_cache_type: {{.CacheType}}\ndescription: \
                 {{.Description}}\ncreated_at: {{.CreatedAt}}\ncreated_since: {{.CreatedSince}}\nlast_used_at: \
                 {{.LastUsedAt}}\nlast_used_since: {{.LastUsedSince}}\nusage_count: {{.UsageCount}}\nin_use: \
                 {{.InUse}}\nshared: {{.Shared}}\n";
    let image = "repository: {{.Repository}}\ntag: {{.Tag}}\ndigest: {{.Digest}}\nimage_id: {{.ID}}\ncreated_at: \
                 {{.CreatedAt}}\nvirtual_size: {{.Size}}\n";
    let container = format!("{}size: {{{{.Size}}}}\n", container::ls::listing(false).raw);
    [
        of("Images", "Image", image),
        of("Containers", "Container", &container),
        of("Volumes", "Volume", volume::ls::listing().raw),
        of("BuildCache", "Build Cache", cache).trim_end().to_owned(),
    ]
    .concat()
}

fn tables(objects: &Objects, usage: &DiskUsage) -> Result<String, Error> {
    let mut out = String::from("Images space usage:\n\n");
    let table = "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}";
    let listing = Listing { table: table.to_owned(), ..image::ls::listing(false) };
    out.push_str(&listing.render(None, false, &objects.images)?);

    out.push_str("\nContainers space usage:\n\n");
    let table = "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}";
    let listing = Listing { table: table.to_owned(), ..container::ls::listing(false) };
    out.push_str(&listing.render(None, false, &objects.containers)?);

    out.push_str("\nLocal Volumes space usage:\n\n");
    let listing = Listing { table: "{{.Name}}\t{{.Links}}\t{{.Size}}".to_owned(), ..volume::ls::listing() };
    out.push_str(&listing.render(None, false, &objects.volumes)?);

    let own = usage.build_cache.iter().flatten().filter(|record| !record.shared);
    let total: i64 = own.map(|record| record.size).sum();
    out.push_str(&format!("\nBuild cache usage: {}\n\n", human_size(total as f64)));
    out.push_str(&cache_listing().render(None, false, &objects.build_cache)?);
    if let (Some(rows), Some(disk)) = (&objects.disk, &usage.disk) {
        let total: i64 = disk.iter().map(|share| share.size).sum();
        out.push_str(&format!("\nDisk usage: {}\n\n", human_size_with(total as f64, 3)));
        out.push_str(&disk_listing().render(None, false, rows)?);
    }
    Ok(out)
}

fn cache_listing() -> Listing {
    Listing {
        table: "{{.ID}}\t{{.CacheType}}\t{{.Size}}\t{{.CreatedSince}}\t{{.LastUsedSince}}\t{{.UsageCount}}\t{{.Shared}}"
            .to_owned(),
        quiet: "",
        raw: "",
        columns: &[
            ("ID", "CACHE ID"),
            ("CacheType", "CACHE TYPE"),
            ("Size", "SIZE"),
            ("CreatedSince", "CREATED"),
            ("LastUsedSince", "LAST USED"),
            ("UsageCount", "USAGE"),
            ("Shared", "SHARED"),
        ],
        labels: false,
    }
}

fn disk_listing() -> Listing {
    Listing {
        table: "{{.Kind}}\t{{.Files}}\t{{.Size}}\t{{.Purpose}}".to_owned(),
        quiet: "",
        raw: "",
        columns: &[("Kind", "KIND"), ("Files", "FILES"), ("Size", "SIZE"), ("Purpose", "PURPOSE")],
        labels: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::images::Summary;

    fn usage() -> DiskUsage {
        let record = |id: &str, used: Option<&str>, in_use| CacheRecord {
            id: id.into(),
            typ: "regular".into(),
            in_use,
            size: 1000,
            created_at: "2026-01-02T03:04:05.25Z".into(),
            last_used_at: used.map(str::to_owned),
            ..CacheRecord::default()
        };
        let image = Summary {
            id: "sha256:0123456789abcdef".into(),
            repo_tags: vec!["a:1".into(), "b:2".into()],
            size: 5_000_000,
            created: 1_767_000_000,
            ..Summary::default()
        };
        DiskUsage {
            images: Some(vec![image]),
            containers: Some(Vec::new()),
            volumes: Some(Vec::new()),
            build_cache: Some(vec![
                record("bbbbbbbbbbbbbbbbb", Some("2026-01-03T03:04:05Z"), true),
                record("aaaaaaaaaaaaaaaaa", None, false),
            ]),
            ..DiskUsage::default()
        }
    }

    fn shown(format: Option<&str>) -> String {
        render(&usage(), format, "2026-01-04T03:04:05Z".parse().unwrap()).unwrap()
    }

    #[test]
    fn templates_see_all_objects() {
        assert_eq!(
            shown(Some(
                r"{{range .Images}}{{.Repository}}:{{.Tag}} {{.ID}} {{.Size}}\n{{end}}{{len .Containers}}"
            )),
            "a:1 sha256:0123456789abcdef 5MB\n0"
        );
        // What was never used comes first, whole ids without a table.
        assert_eq!(
            shown(Some("{{range .BuildCache}}{{.ID}} {{.CreatedAt}} {{.LastUsedSince}};{{end}}")),
            "aaaaaaaaaaaaaaaaa 2026-01-02 03:04:05.25 +0000 UTC ;\
             bbbbbbbbbbbbbbbbb* 2026-01-02 03:04:05.25 +0000 UTC 24 hours ago;"
        );
        assert_eq!(shown(Some("table {{range .BuildCache}}{{.ID}} {{end}}")), "aaaaaaaaaaaa bbbbbbbbbbbb* ");
        assert!(render(&usage(), Some("{{.Nope}}"), Timestamp::UNIX_EPOCH).is_err());
    }

    #[test]
    fn json_is_one_document() {
        let text = shown(Some("json"));
        assert!(text.starts_with(r#"{"Images":[{"Containers":"0","#), "{text}");
        let document: Value = serde_json::from_str(&text).unwrap();
        let keys: Vec<&String> = document.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["Images", "Containers", "Volumes", "BuildCache"]);
        assert_eq!(document["Volumes"], json!([]));
        assert_eq!(document["BuildCache"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn raw_is_every_list() {
        let text = shown(Some("raw"));
        assert!(text.starts_with("type: Image\nrepository: a\ntag: 1\n"), "{text}");
        assert_eq!(text.matches("type: Build Cache\nbuild_cache_id: ").count(), 2, "{text}");
    }

    #[test]
    fn tables_name_an_image_once() {
        let text = shown(None);
        assert!(text.contains("a            1 ") && !text.contains("b            2 "), "{text}");
        assert_eq!(text, shown(Some("table")));
        assert!(text.contains("\nBuild cache usage: 2kB\n\nCACHE ID"), "{text}");
    }
}
