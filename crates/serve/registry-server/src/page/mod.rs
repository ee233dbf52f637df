//! Pages for people: repositories, their tags, what an image is made of. Written on the server, without scripts.
//!
//! Whatever a client has named is escaped (`Html`), and the page's own policy lets a browser load nothing but its style.
//! Pages are tables with captions and headings, so that they can be heard; colours follow the system.

mod html;
mod image;

use http::{HeaderName, Method, StatusCode, header};
use oci::image::Document;

use crate::answer::{self, Answer, Result, with};
use crate::call::Call;
use crate::error::{Code, Failure};
use crate::manifests::Stored;
use crate::name::{Name, Tag};
use crate::route::{Reference, Target};
use crate::storage::Folder;
use html::Html;

/// Rows of a page.
const ROWS: usize = 100;
const POLICY: HeaderName = header::CONTENT_SECURITY_POLICY;

/// The page that is asked for.
pub(crate) async fn serve(call: Call, target: Target) -> Result {
    if ![Method::GET, Method::HEAD].contains(call.method()) {
        return Err(call.unsupported("GET, HEAD"));
    }
    let page = match &target {
        Target::Repository(name) => repository(&call, name).await,
        Target::Image(name, reference) => image::page(&call, name, reference).await,
        _ => front(&call).await,
    };
    match page {
        Ok(page) => Ok(answer(page)),
        Err(failure) if failure.status == StatusCode::NOT_FOUND => {
            let mut page = Html::page("Not found", &[]);
            page.element("p", "There is nothing here, or nothing any more.");
            let mut answer = answer(page);
            *answer.status_mut() = StatusCode::NOT_FOUND;
            Ok(answer)
        }
        Err(failure) => Err(failure),
    }
}

fn answer(page: Html) -> Answer {
    let (document, policy) = page.finish();
    let answer = answer::document_of("text/html; charset=utf-8", document.into());
    let answer = with(answer, POLICY, &policy);
    let answer = with(answer, header::REFERRER_POLICY, "no-referrer");
    with(answer, header::CACHE_CONTROL, "no-cache")
}

/// The repositories that the caller may see.
async fn front(call: &Call) -> Result<Html> {
    let after = call.query.get("after").and_then(|text| text.parse::<Name>().ok());
    let (names, more) = call.registry.repositories(&call.caller, after.as_ref(), ROWS).await?;
    let mut page = Html::page("Repositories", &[]);
    if names.is_empty() {
        page.element("p", "There are no repositories yet. Push an image:");
        page.element(
            "pre",
            &format!("docker tag IMAGE {host}/NAME:TAG\ndocker push {host}/NAME:TAG", host = host(call)),
        );
        return Ok(page);
    }
    page.begin_table("Repositories in this registry", &["Name", "Tags"]);
    for name in &names {
        let tags = call.registry.storage.names(Folder::Tags(name), "", usize::MAX).await?.len();
        page.begin_row();
        page.link_cell(&format!("/repository/{name}"), name.as_str());
        page.number_cell(&tags.to_string());
        page.end_row();
    }
    page.end_table();
    if let Some(last) = names.last().filter(|_| more) {
        page.more(&format!("/?after={last}"));
    }
    Ok(page)
}

/// The tags of a repository.
async fn repository(call: &Call, name: &Name) -> Result<Html> {
    if !call.registry.storage.has(name).await? {
        return Err(Failure::new(Code::NameUnknown));
    }
    let after = call.query.get("after").unwrap_or_default();
    let mut tags = call.registry.storage.names(Folder::Tags(name), after, ROWS + 1).await?;
    let more = tags.len() > ROWS;
    tags.truncate(ROWS);
    let mut page = Html::page(name.as_str(), &[("/", "Repositories")]);
    page.begin_table(&format!("Tags of {name}"), &["Tag", "Digest", "Platforms", "Size"]);
    for tag in tags.iter().filter_map(|tag| tag.parse::<Tag>().ok()) {
        let Some(digest) = call.registry.tagged(name, &tag).await? else { continue };
        let Some(stored) = call.registry.stored(name, &digest).await? else { continue };
        page.begin_row();
        page.link_cell(&format!("/image/{name}:{tag}"), tag.as_str());
        page.code_cell(digest.short(), digest.as_str());
        page.cell(&image::platforms(call, &stored).await?.join(", "));
        page.number_cell(&size(&stored).map(html::bytes).unwrap_or_default());
        page.end_row();
    }
    page.end_table();
    if let Some(last) = tags.last().filter(|_| more) {
        page.more(&format!("/repository/{name}?after={last}"));
    }
    Ok(page)
}

/// Bytes of an image's configuration and layers; none for an index, whose members are not all for one machine.
fn size(stored: &Stored) -> Option<u64> {
    match Document::parse(&stored.bytes).ok()? {
        Document::Manifest(manifest) => {
            let layers = manifest.layers.iter().map(|layer| layer.size);
            Some(layers.fold(manifest.config.size, u64::saturating_add))
        }
        Document::Index(_) => None,
    }
}

/// How the caller reaches the registry.
fn host(call: &Call) -> String {
    call.header(header::HOST).unwrap_or("localhost").to_owned()
}

/// What a person types to have the image.
fn pull(call: &Call, name: &Name, reference: &Reference) -> String {
    let separator = if reference.tag().is_some() { ':' } else { '@' };
    format!("docker pull {}/{name}{separator}{reference}", host(call))
}
