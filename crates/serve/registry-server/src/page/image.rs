//! The page of one image: what it is for, what it is made of, how it is pulled.

use oci::image::{CONFIG_MAX, Document, ImageConfig, Index, Manifest, is_attestation};

use super::html::{Html, bytes};
use crate::answer::Result;
use crate::call::Call;
use crate::error::{Code, Failure};
use crate::manifests::Stored;
use crate::name::Name;
use crate::route::Reference;
use crate::storage::Key;

pub(super) async fn page(call: &Call, name: &Name, reference: &Reference) -> Result<Html> {
    let stored = call.registry.manifest(name, reference).await?;
    let stored = stored.ok_or_else(|| Failure::new(Code::ManifestUnknown))?;
    let separator = if reference.tag().is_some() { ':' } else { '@' };
    let repository = format!("/repository/{name}");
    let path = [("/", "Repositories"), (repository.as_str(), name.as_str())];
    let mut page = Html::page(&format!("{name}{separator}{reference}"), &path);
    page.element("pre", &super::pull(call, name, reference));
    page.begin_facts();
    page.fact("Digest", stored.digest.as_str());
    page.fact("Type", &stored.media_type);
    let document = Document::parse(&stored.bytes).ok();
    let config = match &document {
        Some(Document::Manifest(manifest)) => config(call, manifest).await?,
        _ => None,
    };
    if let Some(config) = &config {
        page.fact("Platform", &config.platform().to_string());
        page.fact("Created", config.created.as_deref().unwrap_or_default());
    }
    page.end_facts();
    match &document {
        Some(Document::Manifest(manifest)) => layers(&mut page, manifest, config.as_ref()),
        Some(Document::Index(index)) => members(&mut page, name, index),
        None => {}
    }
    Ok(page)
}

/// The configuration of an image; none of an artifact, whose configuration is something else.
async fn config(call: &Call, manifest: &Manifest) -> Result<Option<ImageConfig>> {
    let descriptor = &manifest.config;
    if !oci::media_types::is_config(&descriptor.media_type) || descriptor.size > CONFIG_MAX {
        return Ok(None);
    }
    let read = call.registry.storage.read(&Key::blob(&descriptor.digest)).await;
    // One that is too large to be shown is not shown.
    let Ok(Some(bytes)) = read else { return Ok(None) };
    Ok(serde_json::from_slice(&bytes).ok())
}

fn layers(page: &mut Html, manifest: &Manifest, config: Option<&ImageConfig>) {
    page.begin_table("Layers, lowest first", &["Digest", "Made by", "Type", "Size"]);
    let history = config.map(|config| config.history.as_slice()).unwrap_or_default();
    let mut made = history.iter().filter(|step| !step.empty_layer).map(|step| step.created_by.as_str());
    for layer in &manifest.layers {
        page.begin_row();
        page.code_cell(layer.digest.short(), layer.digest.as_str());
        page.cell(made.next().unwrap_or_default());
        page.cell(&layer.media_type);
        page.number_cell(&bytes(layer.size));
        page.end_row();
    }
    page.end_table();
    let total =
        manifest.layers.iter().fold(manifest.config.size, |sum, layer| sum.saturating_add(layer.size));
    page.element("p", &format!("{} layers, {} to download", manifest.layers.len(), bytes(total)));
}

fn members(page: &mut Html, name: &Name, index: &Index) {
    page.begin_table("Images in this index", &["Digest", "Platform", "Type", "Size"]);
    for member in &index.manifests {
        let platform = member.platform.as_ref().map(ToString::to_string).unwrap_or_default();
        page.begin_row();
        page.link_cell(&format!("/image/{name}@{}", member.digest), member.digest.short());
        page.cell(if is_attestation(member) { "attestation" } else { &platform });
        page.cell(&member.media_type);
        page.number_cell(&bytes(member.size));
        page.end_row();
    }
    page.end_table();
}

/// What an image, or the images of an index, are for.
pub(super) async fn platforms(call: &Call, stored: &Stored) -> Result<Vec<String>> {
    Ok(match Document::parse(&stored.bytes) {
        Ok(Document::Index(index)) => {
            let members = index.manifests.iter().filter(|member| !is_attestation(member));
            members.filter_map(|member| Some(member.platform.as_ref()?.to_string())).collect()
        }
        Ok(Document::Manifest(manifest)) => {
            config(call, &manifest).await?.map(|config| config.platform().to_string()).into_iter().collect()
        }
        Err(_) => Vec::new(),
    })
}
