//! Checking all content, and taking away what is broken.
//!
//! Two halves, between which somebody may fetch anew what the first has taken away: [`Store::examine`] looks at bytes,
//! [`Store::settle`] at what refers to what.

use crate::lease::remove;
use crate::users::Users;
use crate::{Error, Layer, Store, side_by_side};
use oci::image::CONFIG_MAX;
use oci::{ChainId, Digest};
use state::{images, tags};
use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};

/// Something that is not as it should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finding {
    /// The object: `blob sha256:…`, `layer …`, `image …`, `tag …`, `leftover …`.
    pub subject: String,
    /// What is wrong with it, and what that means.
    pub problem: String,
    /// Whether it was taken care of.
    pub repaired: bool,
    /// Manifests of the images that need it.
    pub images: Vec<Digest>,
}

/// How content is looked at.
#[derive(Clone, Copy, Default)]
pub struct Examination<'a> {
    /// What is broken beyond use is moved aside, and made anew from what is here where that is possible.
    pub repair: bool,
    /// Only documents and lengths; the bytes of layers and of their archives are believed.
    pub quick: bool,
    /// What these images need (by their manifests) and nothing else.
    pub only: Option<&'a BTreeSet<Digest>>,
    /// Is told how many bytes were looked at, of how many.
    pub progress: Option<&'a (dyn Fn(u64, u64) + Sync)>,
}

impl Store {
    /// Looks at every blob, layer, image and tag. With `repair`, what is broken beyond use is taken away: after that
    /// pulling, loading or building the image again makes it whole.
    pub fn check(&self, repair: bool) -> Result<Vec<Finding>, Error> {
        let mut findings = self.examine(&Examination { repair, ..Examination::default() })?;
        findings.extend(self.settle(repair)?);
        Ok(findings)
    }

    /// Looks at the bytes of every blob and layer, several at once.
    pub fn examine(&self, how: &Examination<'_>) -> Result<Vec<Finding>, Error> {
        let users = self.users()?;
        let (mut blobs, mut layers) = (self.blobs()?, self.layers()?);
        if let Some(only) = how.only {
            let needed = |images: &[Digest]| images.iter().any(|image| only.contains(image));
            blobs.retain(|(digest, _)| needed(users.of_blob(digest)));
            layers.retain(|(chain, _)| needed(users.of_layer(chain)));
        }
        let bytes = blobs.iter().map(|(_, length)| length).chain(sizes(&layers)).sum();
        let run = Run { store: self, how, users: &users, done: AtomicU64::new(0), total: bytes };
        let mut findings = on_all_cores(&blobs, |(digest, _)| run.blob(digest))?;
        let damaged: HashSet<&str> =
            findings.iter().filter_map(|finding| finding.subject.strip_prefix("blob ")).collect();
        let damaged: HashSet<Digest> = damaged.iter().filter_map(|text| text.parse().ok()).collect();
        findings.extend(on_all_cores(&layers, |(chain, layer)| run.layer(chain, layer, &damaged))?);
        Ok(findings)
    }

    /// Whether all layers of a chain are here with their files, as far as their descriptions say.
    pub fn is_whole(&self, chain: Option<&ChainId>) -> Result<bool, Error> {
        let Some(layers) = damage(self.chain(chain))? else { return Ok(false) };
        for layer in &layers {
            match damage(self.own_dirs(layer))? {
                Some(places) if places.iter().all(|place| place.exists()) => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Looks at what refers to what, and at what belongs to nobody. With `repair`, what leads nowhere is forgotten.
    pub fn settle(&self, repair: bool) -> Result<Vec<Finding>, Error> {
        let mut findings = Vec::new();
        self.settle_layers(repair, &mut findings)?;
        self.settle_images(repair, &mut findings)?;
        self.settle_tags(repair, &mut findings)?;
        let finding = |subject, problem: &str| Finding {
            subject,
            problem: problem.to_owned(),
            repaired: repair,
            ..Finding::default()
        };
        for path in self.dead_leases()? {
            let problem = "its process is gone, and with it the use of what it made";
            findings.push(finding(format!("leftover {}", path.display()), problem));
        }
        for path in self.leftovers()? {
            if repair {
                self.remove_leftover(&path)?;
            }
            findings.push(finding(format!("leftover {}", path.display()), "its process is gone"));
        }
        if repair {
            // What belongs to nothing is no problem, but room that a repair makes: a pull or build that failed leaves it.
            let unused = self.gc()?;
            if unused.blobs + unused.layers > 0 {
                let problem =
                    format!("{} blobs and {} layers belonged to nothing", unused.blobs, unused.layers);
                findings.push(finding("content unused".to_owned(), &problem));
            }
        }
        Ok(findings)
    }

    /// Layers that lack another one.
    fn settle_layers(&self, repair: bool, findings: &mut Vec<Finding>) -> Result<(), Error> {
        let users = self.users()?;
        let layers = self.layers()?;
        let here: HashSet<ChainId> =
            layers.iter().filter(|(_, layer)| layer.is_ok()).map(|(chain, _)| chain.clone()).collect();
        for (chain, layer) in layers {
            let Ok(layer) = layer else { continue };
            // Looked at again: one that was made while we listed may not have been listed.
            let below = match &layer.parent {
                Some(parent) if !here.contains(parent) => damage(self.layer(parent))?.flatten().is_some(),
                _ => true,
            };
            let problem = match damage(self.halves(&layer))? {
                _ if !below => "the layer below it is missing",
                None => "the layer that has most of its files is missing",
                Some(_) => continue,
            };
            if repair {
                remove(&self.layer_dir(&chain))?;
            }
            findings.push(Finding {
                subject: format!("layer {chain}"),
                problem: users.told(problem.to_owned(), users.of_layer(&chain)),
                repaired: repair,
                images: users.of_layer(&chain).to_vec(),
            });
        }
        Ok(())
    }

    fn settle_images(&self, repair: bool, findings: &mut Vec<Finding>) -> Result<(), Error> {
        for (record, image) in self.images()? {
            let problem = match image {
                Err(error) if error.is_damage() => chain_text(&error),
                Err(error) => return Err(error),
                Ok(image) => match self.chain(image.chain().as_ref()) {
                    Err(error) if error.is_damage() => chain_text(&error),
                    Err(error) => return Err(error),
                    Ok(_) => {
                        self.settle_layer_blobs(&image, findings)?;
                        continue;
                    }
                },
            };
            if repair {
                self.db().write(|tx| images::remove(tx, &record.digest))?;
            }
            let (subject, images) = (format!("image {}", record.id), vec![record.digest]);
            findings.push(Finding { subject, problem, repaired: repair, images });
        }
        Ok(())
    }

    /// A layer's blob may be missing: the image runs, and can't be saved or pushed.
    fn settle_layer_blobs(&self, image: &crate::Image, findings: &mut Vec<Finding>) -> Result<(), Error> {
        let chains = ChainId::all(&image.config.rootfs.diff_ids);
        for (descriptor, chain) in image.manifest.layers.iter().zip(chains) {
            let made_here = self.layer(&chain)?.is_some_and(|layer| layer.archive_size.is_some());
            let remade = made_here && image.config.rootfs.diff_ids.contains(&descriptor.digest);
            if !remade && self.blob_size(&descriptor.digest)?.is_none() {
                let problem =
                    format!("the archive {} of a layer is missing: pull or load it again", descriptor.digest);
                let (subject, images) = (format!("image {}", image.id), vec![image.digest.clone()]);
                findings.push(Finding { subject, problem, repaired: false, images });
            }
        }
        Ok(())
    }

    fn settle_tags(&self, repair: bool, findings: &mut Vec<Finding>) -> Result<(), Error> {
        for tag in self.db().read(tags::all)? {
            let sound = |tx: &state::Tx<'_>| self.target_is_sound(tx, &tag.target);
            if self.db().read(sound)? {
                continue;
            }
            if repair {
                self.db().write(|tx| tags::remove(tx, &tag.reference))?;
            }
            let subject = format!("tag {}", tag.reference.familiar());
            let problem = format!("there is no image {}", tag.target);
            findings.push(Finding { subject, problem, repaired: repair, images: Vec::new() });
        }
        Ok(())
    }
}

fn sizes(layers: &[crate::Listed<ChainId, Layer>]) -> impl Iterator<Item = &u64> {
    layers.iter().filter_map(|(_, layer)| layer.as_ref().ok().map(|layer| &layer.size))
}

/// One examination.
struct Run<'a> {
    store: &'a Store,
    how: &'a Examination<'a>,
    users: &'a Users,
    done: AtomicU64,
    total: u64,
}

impl Run<'_> {
    fn tell(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if let Some(progress) = self.how.progress {
            progress(done, self.total);
        }
    }

    fn blob(&self, digest: &Digest) -> Result<Option<Finding>, Error> {
        let file = match self.store.open_blob(digest) {
            Err(Error::NoBlob(_)) => return Ok(None),
            other => other?,
        };
        let path = self.store.blob_path(digest);
        let length = file.metadata().map_err(Error::io("look at", &path))?.len();
        let subject = format!("blob {digest}");
        let images = self.users.of_blob(digest).to_vec();
        let problem = if self.how.quick && length > CONFIG_MAX {
            self.tell(length);
            match self.users.length(digest) {
                Some(right) if right != length => format!("it has {length} bytes instead of {right}"),
                _ => return Ok(None),
            }
        } else {
            match self.store.digest_of_open(Counted { file: &file, run: self }, digest) {
                Ok(found) if found == *digest => return Ok(None),
                Ok(_) => "its bytes are not those that its digest names".to_owned(),
                Err(error) if crate::durable::is_broken_seal(&file, &error) => {
                    "its bytes are not those that the kernel has sealed".to_owned()
                }
                Err(error) => {
                    let problem = format!("cannot be read: {error}");
                    let problem = self.users.told(problem, &images);
                    return Ok(Some(Finding { subject, problem, repaired: false, images }));
                }
            }
        };
        if self.how.repair {
            self.store.quarantine_blob(digest, &file)?;
        }
        let problem = self.users.told(problem, &images);
        Ok(Some(Finding { subject, problem, repaired: self.how.repair, images }))
    }

    fn layer(
        &self,
        chain: &ChainId,
        layer: &Result<Layer, Error>,
        damaged: &HashSet<Digest>,
    ) -> Result<Option<Finding>, Error> {
        let store = self.store;
        let directory = match store.open_layer_dir(chain) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let archive = self.users.archive(chain).filter(|archive| !damaged.contains(archive));
        let problem = match layer {
            Err(error) if error.is_damage() => chain_text(error),
            Err(error) => return Ok(Some(self.unread(chain, error))),
            Ok(layer) if ChainId::on(layer.parent.as_ref(), &layer.diff_id) != *chain => {
                "its description belongs to another layer".to_owned()
            }
            // What it lacks is looked at later.
            Ok(layer) if damage(store.halves(layer))?.is_none() => return Ok(None),
            Ok(layer) if !store.files(layer).exists() => {
                format!("the files of {} are missing", layer.diff_id)
            }
            Ok(_) if self.how.quick => return Ok(None),
            Ok(layer) => {
                let found = self.content(layer, archive)?;
                self.tell(layer.size);
                match found {
                    None => return Ok(None),
                    Some(Content::Settled(finding)) => return Ok(Some(finding)),
                    Some(Content::Damaged(problem)) => problem,
                }
            }
        };
        if self.how.repair {
            store.quarantine_layer(chain, &directory)?;
        }
        let images = self.users.of_layer(chain).to_vec();
        let problem = self.users.told(problem, &images);
        Ok(Some(Finding { subject: format!("layer {chain}"), problem, repaired: self.how.repair, images }))
    }

    /// A layer that can't be looked at just now: that is no damage.
    fn unread(&self, chain: &ChainId, error: &Error) -> Finding {
        let images = self.users.of_layer(chain).to_vec();
        let problem = self.users.told(format!("cannot be read: {}", chain_text(error)), &images);
        Finding { subject: format!("layer {chain}"), problem, repaired: false, images }
    }

    /// Whether a layer's files are those that its digest names.
    fn content(&self, layer: &Layer, archive: Option<&Digest>) -> Result<Option<Content>, Error> {
        // Only what was packed here can be packed again to the same bytes.
        if layer.archive_size.is_some() {
            return Ok(match self.store.layer_tar(layer, io::sink()) {
                Ok(()) => None,
                Err(error) if error.is_damage() => Some(Content::Damaged(chain_text(&error))),
                Err(error) => Some(Content::Settled(self.unread(&layer.chain_id, &error))),
            });
        }
        let Some(archive) = archive else { return Ok(None) };
        Ok(self.against(layer, archive)?.map(Content::Settled))
    }

    /// A layer that came from elsewhere, with the archive that it came in, from which it can be made anew.
    fn against(&self, layer: &Layer, archive: &Digest) -> Result<Option<Finding>, Error> {
        let subject = format!("layer {}", layer.chain_id);
        let images = self.users.of_layer(&layer.chain_id).to_vec();
        let compared = self.store.copy_of(layer, archive).and_then(|copy| match copy {
            Some(copy) => Ok(self.store.differs(layer, &copy)?.map(|problem| (problem, copy))),
            None => Ok(None),
        });
        match compared {
            Ok(None) => Ok(None),
            Ok(Some((problem, copy))) => {
                if self.how.repair {
                    self.store.restore(layer, copy)?;
                }
                let problem = self.users.told(problem, &images);
                Ok(Some(Finding { subject, problem, repaired: self.how.repair, images }))
            }
            Err(error) => {
                let problem =
                    format!("cannot be compared with its archive {archive}: {}", chain_text(&error));
                Ok(Some(Finding { subject, problem, repaired: false, images }))
            }
        }
    }
}

/// What is wrong with a layer's files.
enum Content {
    /// It was taken care of, as far as that is possible.
    Settled(Finding),
    Damaged(String),
}

/// A file that tells how far it was read.
struct Counted<'a> {
    file: &'a File,
    run: &'a Run<'a>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.run.tell(count as u64);
        Ok(count)
    }
}

/// Looks at all of them on all cores; what was found, in their order.
fn on_all_cores<T: Sync>(
    items: &[T],
    look: impl Fn(&T) -> Result<Option<Finding>, Error> + Sync,
) -> Result<Vec<Finding>, Error> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(side_by_side(cores, items.iter().collect(), look)?.into_iter().flatten().collect())
}

/// Nothing where content is damaged or missing; what keeps from looking at it stays an error.
fn damage<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_damage() => Ok(None),
        Err(error) => Err(error),
    }
}

/// An error with all its causes.
pub(crate) fn chain_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
