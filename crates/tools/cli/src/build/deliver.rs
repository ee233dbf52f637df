//! Handing out what was built: to files, directories, archives, registries.

use std::io::{Read, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use api::build::{BuildDetails, BuiltImage, FileStatement};
use archive::{Entry, Packer, Time};
use bytes::Bytes;
use client::ByteStream;
use client::images::PushResult;
use futures_util::{StreamExt as _, stream};
use oci::Reference;
use oci::image::Descriptor;
use serde_json::Value;
use sys::root::Root;

use super::output::{Kind, Output};
use crate::container::cp::chain;
use crate::context::Cli;
use crate::error::Error;
use crate::registry::credentials;
use crate::stream::channel::ChannelReader;
use crate::system::output::Target;

/// What a build gave, and where it goes.
pub struct Delivery<'a> {
    pub cli: &'a Cli,
    pub details: &'a BuildDetails,
    /// The names that the image was given.
    pub names: &'a [String],
    pub quiet: bool,
    /// One image's files lie as those of several do.
    pub split: bool,
}

/// What a registry knows a pushed image by.
#[derive(Debug, Clone, Default)]
pub struct Pushed {
    pub digest: String,
    pub size: u64,
    pub media_type: String,
}

impl Pushed {
    fn of(found: &Descriptor) -> Pushed {
        let (digest, media_type) = (found.digest.to_string(), found.media_type.clone());
        Pushed { digest, size: found.size, media_type }
    }
}

impl Delivery<'_> {
    /// Serves one output.
    pub async fn serve(&self, output: &Output) -> Result<Option<Pushed>, Error> {
        match output.kind {
            Kind::Local => self.local(output).await.map(|()| None),
            Kind::Tar => self.tar(output).await.map(|()| None),
            Kind::Oci => self.layout(output).await.map(|()| None),
            Kind::Docker if output.dest.is_some() => self.docker(output).await.map(|()| None),
            Kind::Image if output.pushes() => self.push(output).await.map(Some),
            Kind::Docker | Kind::Image | Kind::CacheOnly => Ok(None),
        }
    }

    /// The images and where each one's files are in the output.
    fn places(&self, output: &Output) -> Vec<(String, String)> {
        let images = &self.details.images;
        let split = output.split.unwrap_or(self.split || images.len() > 1);
        let place = |image: &BuiltImage| match split {
            true => image.platform.replace('/', "_"),
            false => String::new(),
        };
        let digest = |image: &BuiltImage| image.manifest.as_ref().map(|m| m.digest.to_string());
        images.iter().filter_map(|image| Some((digest(image)?, place(image)))).collect()
    }

    async fn files(&self, output: &Output) -> Result<ByteStream, Error> {
        Ok(client::images::files(self.cli.client()?, &self.places(output), self.details.source_date_epoch)
            .await?)
    }

    async fn local(&self, output: &Output) -> Result<(), Error> {
        let dest = self.cli.host.directory.join(output.dest.as_deref().unwrap_or_default());
        make(&dest)?;
        if !output.delete {
            unpack(self.files(output).await?, &dest).await?;
            return self.attestations(output, &dest);
        }
        // What was there goes when the new files have come whole, and not before.
        let fresh = tempfile::Builder::new().prefix(".dhow-").tempdir_in(&dest);
        let fresh = fresh.map_err(|error| Error::file("mkdir", &dest, &error))?;
        unpack(self.files(output).await?, fresh.path()).await?;
        self.attestations(output, fresh.path())?;
        replace(&dest, fresh.path())
    }

    /// Writes what is attested of the images beside their files.
    fn attestations(&self, output: &Output, dest: &Path) -> Result<(), Error> {
        for (name, text) in self.attested(output)? {
            let path = dest.join(name);
            private(&path, &text).map_err(|error| Error::file("write", &path, &error))?;
            self.date(&path).map_err(|error| Error::file("chtimes", &path, &error))?;
        }
        Ok(())
    }

    /// What is attested of the images, as files: their paths in the output, and what they say.
    fn attested(&self, output: &Output) -> Result<Vec<(PathBuf, String)>, Error> {
        let images = &self.details.images;
        let several = self.split || images.len() > 1;
        let mut files = Vec::new();
        for (image, (_, place)) in images.iter().zip(self.places(output)) {
            // Where the files of several lie together, each one's have a name of their own.
            let whose = (several && place.is_empty()).then(|| image.platform.replace('/', "_"));
            for FileStatement { name, statement } in &image.statements {
                if Path::new(name).file_name() != Some(name.as_ref()) {
                    return Err(Error::new(format!(
                        "attestation {}: it is no name of a file",
                        template::quote(name)
                    )));
                }
                let name = format!("{}{}", output.attestation_prefix, named(name, whose.as_deref()));
                files.push((Path::new(&place).join(name), crate::system::inspect::pretty(statement)?));
            }
        }
        Ok(files)
    }

    /// Gives a file the time that stands for now.
    fn date(&self, path: &Path) -> std::io::Result<()> {
        let Some(seconds) = self.details.source_date_epoch else { return Ok(()) };
        let length = Duration::from_secs(seconds.unsigned_abs());
        let time = if seconds < 0 { UNIX_EPOCH - length } else { UNIX_EPOCH + length };
        std::fs::File::open(path)?.set_modified(time)
    }

    async fn tar(&self, output: &Output) -> Result<(), Error> {
        let target = self.target(output)?;
        let beside = self.packed(output)?;
        let files = self.files(output).await?;
        target.fill(stream::iter([Ok(beside)]).chain(files)).await.map(drop)
    }

    /// What is attested of the images, as the beginning of an archive.
    fn packed(&self, output: &Output) -> Result<Bytes, Error> {
        let packer = Packer::new(Vec::new());
        let mut packer = match self.details.source_date_epoch {
            Some(seconds) => packer.at(seconds),
            None => packer,
        };
        for (path, text) in self.attested(output)? {
            let entry = Entry { mtime: Time::now(), ..Entry::file(path, PRIVATE, 0) };
            let packed = packer.append_bytes(&entry, text.as_bytes());
            packed.map_err(|error| Error::new(chain(&error)))?;
        }
        Ok(packer.into_sink().into())
    }

    fn target(&self, output: &Output) -> Result<Target<'_>, Error> {
        let dest = output.dest.as_deref().filter(|dest| *dest != "-");
        // What is made to be handed on is readable as any other file.
        Target::open(self.cli, dest, 0o666, ("write", "output"))
    }

    async fn archive(&self, output: &Output) -> Result<ByteStream, Error> {
        let target = self.details.target.as_ref().ok_or_else(|| Error::new("the server named no image"))?;
        let names = if output.names.is_empty() { self.names } else { &output.names };
        Ok(client::images::archive(self.cli.client()?, target, names).await?)
    }

    async fn layout(&self, output: &Output) -> Result<(), Error> {
        if output.directory {
            let dest = self.cli.host.directory.join(output.dest.as_deref().unwrap_or_default());
            make(&dest)?;
            return unpack(self.archive(output).await?, &dest).await;
        }
        let target = self.target(output)?;
        target.fill(self.archive(output).await?).await.map(drop)
    }

    async fn docker(&self, output: &Output) -> Result<(), Error> {
        if self.details.images.len() > 1 {
            return Err(Error::new(
                "docker exporter does not support exporting manifest lists, use the oci exporter instead",
            ));
        }
        self.layout(output).await
    }

    async fn push(&self, output: &Output) -> Result<Pushed, Error> {
        let mut last = Pushed::default();
        let names = if output.names.is_empty() { self.names } else { &output.names };
        for name in names {
            let name = Reference::parse(name).map_err(|error| Error::new(error.to_string()))?;
            if let Some(sent) = self.details.sent.iter().find(|sent| sent.name == name.to_string()) {
                last = sent.descriptor.as_ref().map(Pushed::of).unwrap_or_default();
                continue;
            }
            let auth = credentials::lookup(self.cli, &name.domain)?.unwrap_or_default();
            let (tag, client) = (name.tag.clone().unwrap_or_default(), self.cli.client()?);
            let repository = name.familiar_name();
            // By its digest, whatever becomes of its name meanwhile.
            let target = self.details.target.as_ref();
            let how = PushResult {
                image: target.map(|target| target.digest.as_str()),
                stays: output.keeps(),
                by_digest: output.by_digest,
                insecure: output.insecure,
                as_is: output.export.compression.as_deref() == Some("uncompressed"),
            };
            let messages = match how.by_digest || how.insecure || how.as_is || how.image.is_some() {
                true => client::images::push_result(client, &repository, &tag, how, &auth).await?,
                false => {
                    let push = client::images::Push { tag, ..Default::default() };
                    client::images::push(client, &repository, &push, &auth).await?
                }
            };
            let terminal = self.cli.stderr_is_terminal();
            let mut sink: Box<dyn std::io::Write + Send> = match self.quiet {
                true => Box::new(std::io::sink()),
                false => Box::new(std::io::stderr()),
            };
            let told = |aux: &Value| {
                if let Some(digest) = aux["Digest"].as_str() {
                    let media_type = aux["MediaType"].as_str().unwrap_or_default().to_owned();
                    last = Pushed {
                        digest: digest.to_owned(),
                        size: aux["Size"].as_u64().unwrap_or(0),
                        media_type,
                    };
                }
            };
            crate::progress::messages::show(messages, &mut *sink, terminal, told).await?;
        }
        Ok(last)
    }
}

/// The mode of what is attested, as BuildKit writes it: it may tell more of the machine than the files do.
const PRIVATE: u32 = 0o600;

/// Writes a file that is its owner's alone, also where it was there before.
fn private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(PRIVATE).open(path)?;
    file.set_permissions(std::fs::Permissions::from_mode(PRIVATE))?;
    file.write_all(text.as_bytes())
}

/// The name of a file, with whose it is before its ending.
fn named(name: &str, whose: Option<&str>) -> String {
    match (whose, name.rsplit_once('.')) {
        (None, _) => name.to_owned(),
        (Some(whose), Some((stem, ending))) => format!("{stem}.{whose}.{ending}"),
        (Some(whose), None) => format!("{name}.{whose}"),
    }
}

/// Makes a directory, with those above it.
fn make(dest: &Path) -> Result<(), Error> {
    sys::daemon::with_mask_as_before(|| std::fs::create_dir_all(dest))
        .map_err(|error| Error::file("mkdir", dest, &error))
}

/// Makes the content of a directory that of another one, which lies in it.
fn replace(dest: &Path, fresh: &Path) -> Result<(), Error> {
    let entries = |directory: &Path| -> Result<Vec<std::path::PathBuf>, Error> {
        let failed = |error: std::io::Error| Error::file("open", directory, &error);
        let read = std::fs::read_dir(directory).map_err(failed)?;
        read.map(|entry| entry.map(|entry| entry.path()).map_err(failed)).collect()
    };
    for path in entries(dest)?.into_iter().filter(|path| path != fresh) {
        let is_folder = path.symlink_metadata().is_ok_and(|found| found.is_dir());
        let removed = if is_folder { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        removed.map_err(|error| Error::file("remove", &path, &error))?;
    }
    for path in entries(fresh)? {
        let Some(name) = path.file_name() else { continue };
        std::fs::rename(&path, dest.join(name)).map_err(|error| Error::file("rename", &path, &error))?;
    }
    Ok(())
}

/// Looks at where files will be written, before there is anything to write.
pub fn prepare(cli: &Cli, outputs: &[Output]) -> Result<(), Error> {
    for output in outputs.iter().filter(|output| output.is_file()) {
        let dest = output.dest.as_deref().unwrap_or_default();
        let path = cli.host.directory.join(dest);
        if path.is_dir() {
            return Err(Error::new(format!("destination file {dest} is a directory")));
        }
        path.parent().map_or(Ok(()), make)?;
    }
    Ok(())
}

/// Unpacks an archive into a directory; what is in the way of a file is replaced.
async fn unpack(tar: ByteStream, dest: &Path) -> Result<(), Error> {
    let reader = ChannelReader::new(tar);
    let dest = dest.to_owned();
    let work = move || write(std::io::BufReader::with_capacity(256 << 10, reader), &dest);
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::new(error.to_string()))?
}

/// Writes what a server sends below `dest`, and nothing elsewhere, whoever the server is.
fn write(mut reader: impl Read, dest: &Path) -> Result<(), Error> {
    let root = Root::open(dest).map_err(|error| Error::file("open", dest, &error))?;
    let (user, group) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let options =
        archive::Options { owner: Some((user, group)), devices: user == 0, ..archive::Options::plain() };
    archive::unpack(&mut reader, &root, &options).map_err(|error| Error::new(chain(&error)))?;
    // The stream's end tells whether the server came to an end too.
    std::io::copy(&mut reader, &mut std::io::sink())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: usize = 512;

    /// One entry of an archive, as a hostile server writes it: any name, any kind, any target.
    fn entry(kind: u8, name: &str, target: &str, content: &[u8]) -> Vec<u8> {
        let mut header = vec![0; BLOCK];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..108].copy_from_slice(b"0000777\0");
        header[108..116].copy_from_slice(b"0000000\0");
        header[116..124].copy_from_slice(b"0000000\0");
        header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
        header[136..148].copy_from_slice(b"00000000000\0");
        header[156] = kind;
        header[157..157 + target.len()].copy_from_slice(target.as_bytes());
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        header.extend_from_slice(content);
        header.resize(header.len().next_multiple_of(BLOCK), 0);
        header
    }

    #[test]
    fn what_is_not_in_a_result_goes() {
        let home = tempfile::tempdir().unwrap();
        let (dest, fresh) = (home.path().join("out"), home.path().join("out/.new"));
        std::fs::create_dir_all(dest.join("old/deep")).unwrap();
        std::fs::create_dir_all(fresh.join("kept")).unwrap();
        std::fs::write(home.path().join("outside"), "untouched").unwrap();
        std::os::unix::fs::symlink(home.path(), dest.join("link")).unwrap();
        std::fs::write(dest.join("kept"), "old").unwrap();
        std::fs::write(fresh.join("kept/file"), "new").unwrap();
        replace(&dest, &fresh).unwrap();
        std::fs::remove_dir(&fresh).unwrap();
        let names: Vec<_> =
            std::fs::read_dir(&dest).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["kept"]);
        assert_eq!(std::fs::read_to_string(dest.join("kept/file")).unwrap(), "new");
        assert_eq!(std::fs::read_to_string(home.path().join("outside")).unwrap(), "untouched");
    }

    #[test]
    fn files_of_several_platforms_have_names_of_their_own() {
        assert_eq!(named("provenance.json", None), "provenance.json");
        assert_eq!(named("sbom.spdx.json", Some("linux_arm64")), "sbom.spdx.linux_arm64.json");
        assert_eq!(named("how", Some("linux_arm64")), "how.linux_arm64");
    }

    #[test]
    fn a_server_writes_nowhere_else() {
        let home = tempfile::tempdir().unwrap();
        let (dest, outside) = (home.path().join("out"), home.path().join("outside"));
        std::fs::create_dir(&dest).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("file"), "untouched").unwrap();
        let place = outside.to_str().unwrap();
        let climbing = format!("../../../../../../../../..{place}");
        let link = |kind, to: &str, then: &str| {
            [entry(kind, "link", to, b""), entry(b'0', then, "", b"evil")].concat()
        };
        for (number, entries) in [
            entry(b'0', "../outside/file", "", b"evil"),
            entry(b'0', &format!("{place}/file"), "", b"evil"),
            link(b'2', place, "link/file"),
            link(b'2', "../outside", "link/file"),
            link(b'2', &climbing, "link/file"),
            link(b'2', &format!("{place}/file"), "link"),
            link(b'2', "/proc/self/root", &format!("link{place}/file")),
            link(b'1', &format!("{place}/file"), "link"),
            link(b'1', "../outside/file", "link"),
            [
                entry(b'2', "a", "../outside", b""),
                entry(b'5', "a", "", b""),
                entry(b'0', "a/new", "", b"evil"),
            ]
            .concat(),
        ]
        .into_iter()
        .enumerate()
        {
            let archive = [entries, vec![0; 2 * BLOCK]].concat();
            let _ = write(&archive[..], &dest);
            assert_eq!(std::fs::read_to_string(outside.join("file")).unwrap(), "untouched", "{number}");
            assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1, "{number}");
            // What an earlier answer left there is no way out either.
            let _ = write(&[entry(b'0', "link/file", "", b"evil"), vec![0; 2 * BLOCK]].concat()[..], &dest);
            assert_eq!(std::fs::read_to_string(outside.join("file")).unwrap(), "untouched", "{number}");
        }
    }
}
