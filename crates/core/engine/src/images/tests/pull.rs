//! Pulling from a registry on the loopback interface.

use std::collections::BTreeMap;

use api::auth::AuthConfig;
use api::images::PullOptions;
use oci::{Platform, media_types};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{engine, inspect, listed, members, multi_platform, rmi, saved, told};
use crate::error::Kind;

/// Paths with the types and bytes that they are answered with.
pub(super) type Content = BTreeMap<String, (String, Vec<u8>)>;

/// A registry that has these paths.
pub(super) async fn registry(content: Content) -> u16 {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let content = std::sync::Arc::new(content);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let content = content.clone();
            tokio::spawn(async move {
                let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
                while !request.ends_with(b"\r\n\r\n") {
                    match stream.read(&mut buffer).await {
                        // Who begins with TLS is sent away at once, and comes back without.
                        Ok(count @ 1..) if buffer[0] != 0x16 => request.extend_from_slice(&buffer[..count]),
                        _ => return,
                    }
                }
                let line = String::from_utf8_lossy(&request).into_owned();
                let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
                let (status, kind, bytes) = match content.get(&path) {
                    Some((kind, bytes)) => ("200 OK", kind.clone(), bytes.clone()),
                    None if path == "/v2/" => ("200 OK", "application/json".into(), b"{}".to_vec()),
                    None => (
                        "404 Not Found",
                        "application/json".into(),
                        br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#.to_vec(),
                    ),
                };
                let head = format!(
                    "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    bytes.len()
                );
                stream.write_all(head.as_bytes()).await.ok();
                stream.write_all(&bytes).await.ok();
                stream.shutdown().await.ok();
            });
        }
    });
    port
}

/// An index as a registry has it under `team/app:1`, and its blobs.
fn served() -> (Content, BTreeMap<String, Vec<u8>>, oci::Digest) {
    let (bytes, target) = multi_platform();
    let blobs: BTreeMap<String, Vec<u8>> = members(&bytes)
        .into_iter()
        .filter_map(|(name, bytes)| Some((name.strip_prefix("./blobs/sha256/")?.to_owned(), bytes)))
        .collect();
    let mut content = BTreeMap::new();
    for (hex, bytes) in &blobs {
        content.insert(
            format!("/v2/team/app/blobs/sha256:{hex}"),
            ("application/octet-stream".into(), bytes.clone()),
        );
        let kind = if *hex == target.hex() { media_types::OCI_INDEX } else { media_types::OCI_MANIFEST };
        for name in [format!("sha256:{hex}"), "1".to_owned()] {
            if name != "1" || *hex == target.hex() {
                content.insert(format!("/v2/team/app/manifests/{name}"), (kind.into(), bytes.clone()));
            }
        }
    }
    (content, blobs, target)
}

#[tokio::test]
async fn what_has_no_platform_beside_it_has_it_in_its_configuration() {
    let (mut content, blobs, target) = served();
    let mut index: oci::image::Index = serde_json::from_slice(&blobs[target.hex()]).unwrap();
    index.manifests.iter_mut().for_each(|member| member.platform = None);
    let kind = media_types::OCI_INDEX.to_owned();
    content.insert("/v2/team/app/manifests/1".into(), (kind, serde_json::to_vec(&index).unwrap()));
    let (_dir, engine) = engine().await;
    let port = registry(content).await;
    let name = format!("127.0.0.1:{port}/team/app:1");
    let pull = async |platform: &str| {
        let from_image = format!("127.0.0.1:{port}/team/app");
        let (tag, platform) = ("1".to_owned(), platform.to_owned());
        let options = PullOptions { from_image, tag, platform, ..PullOptions::default() };
        told(|sender| crate::images::pull(&engine, options, AuthConfig::default(), sender)).await
    };
    let error = pull("linux/riscv64").await.unwrap_err();
    assert_eq!(error.message, "no matching manifest for linux/riscv64 in the manifest list entries");
    let host = Platform::host();
    pull("").await.unwrap();
    let image = inspect(&engine, &name, "").await.unwrap();
    assert_eq!(format!("{}/{}", image.os, image.architecture), host.to_string());
    assert_eq!(engine.store().resolve(&name, Some(&host)).unwrap().config.platform().os, "linux");
    let again = pull(&host.to_string()).await.unwrap();
    assert_eq!(again.last().unwrap().status, format!("Status: Image is up to date for {name}"));
}

#[tokio::test]
async fn pulling_takes_the_platform_and_saves_as_it_came() {
    let (content, blobs, target) = served();
    let mut damaged = content.clone();
    for (path, (_, bytes)) in &mut damaged {
        if path.contains("/blobs/") && bytes.starts_with(&[0x1f, 0x8b]) {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }
    }
    let (_dir, engine) = engine().await;
    let port = registry(content).await;
    let request = |port: u16, tag: &str| PullOptions {
        from_image: format!("127.0.0.1:{port}/team/app"),
        tag: tag.into(),
        ..PullOptions::default()
    };
    let run = async |options| {
        told(|sender| crate::images::pull(&engine, options, AuthConfig::default(), sender)).await
    };
    let lines: Vec<String> =
        run(request(port, "1")).await.unwrap().into_iter().map(|line| line.status).collect();
    assert_eq!(lines.first().unwrap(), "Pulling from team/app");
    for expected in ["Pulling fs layer", "Download complete", "Pull complete", &format!("Digest: {target}")] {
        assert!(lines.iter().any(|line| line == expected), "{expected}: {lines:?}");
    }
    let name = format!("127.0.0.1:{port}/team/app:1");
    assert_eq!(*lines.last().unwrap(), format!("Status: Downloaded newer image for {name}"));
    let image = inspect(&engine, &name, "").await.unwrap();
    assert_eq!(format!("{}/{}", image.os, image.architecture), Platform::host().to_string());
    assert_eq!(image.repo_digests, [format!("127.0.0.1:{port}/team/app@{target}")]);
    let lines = run(request(port, "1")).await.unwrap();
    assert_eq!(lines.last().unwrap().status, format!("Status: Image is up to date for {name}"));

    // What was saved from a pull has the registry's bytes.
    for (path, bytes) in members(&saved(&engine, &[&name]).await.unwrap()) {
        if let Some(hex) = path.strip_prefix("blobs/sha256/").filter(|hex| !hex.is_empty()) {
            assert!(blobs[hex] == bytes, "{path}");
        }
    }
    let mut other = request(port, "1");
    other.platform = "linux/riscv64".into();
    let error = run(other).await.unwrap_err();
    assert_eq!(error.message, "no matching manifest for linux/riscv64 in the manifest list entries");
    assert_eq!(run(request(port, "2")).await.unwrap_err().kind, Kind::NotFound);

    let answers = rmi(&engine, &name, false).await.unwrap();
    assert!(answers[1].untagged.contains('@'), "the digest goes with the last tag: {answers:?}");
    assert!(engine.store().blobs().unwrap().is_empty());

    let port = registry(damaged).await;
    let error = run(request(port, "1")).await.unwrap_err();
    assert!(error.message.contains(" does not match its digest: it is sha256:"), "{error}");
    engine.store().gc().unwrap();
    assert!(engine.store().blobs().unwrap().is_empty() && listed(&engine, &[]).await.is_empty());
    assert_eq!(engine.store().check(false).unwrap(), vec![]);
}
