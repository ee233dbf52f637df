//! Checking all content, and taking away what is broken.

use crate::lease::remove;
use crate::{Error, Layer, Store};
use oci::{ChainId, Digest};
use state::{images, tags};
use std::collections::{HashMap, HashSet};

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The object: `blob sha256:…`, `layer …`, `image …`, `tag …`, `leftover …`.
    pub subject: String,
    /// What is wrong with it, and what that means.
    pub problem: String,
    /// Whether it was taken care of.
    pub repaired: bool,
}

impl Store {
    /// Looks at every blob, layer, image and tag. With `repair`, what is broken beyond use is removed: after that
    /// pulling, loading or building the image again makes it whole.
    pub fn check(&self, repair: bool) -> Result<Vec<Finding>, Error> {
        let mut findings = Vec::new();
        self.check_blobs(repair, &mut findings)?;
        self.check_layers(repair, &mut findings)?;
        self.check_images(repair, &mut findings)?;
        self.check_tags(repair, &mut findings)?;
        for path in self.dead_leases()? {
            let problem = "its process is gone, and with it the use of what it made".to_owned();
            findings.push(Finding {
                subject: format!("leftover {}", path.display()),
                problem,
                repaired: repair,
            });
        }
        for path in self.leftovers()? {
            if repair {
                self.remove_leftover(&path)?;
            }
            let subject = format!("leftover {}", path.display());
            findings.push(Finding { subject, problem: "its process is gone".to_owned(), repaired: repair });
        }
        if repair {
            self.collect_unused(&mut findings)?;
        }
        Ok(findings)
    }

    /// What belongs to nothing is no problem, but room that a repair makes: a pull or build that failed leaves it.
    fn collect_unused(&self, findings: &mut Vec<Finding>) -> Result<(), Error> {
        let unused = self.gc()?;
        if unused.blobs + unused.layers > 0 {
            let problem = format!("{} blobs and {} layers belonged to nothing", unused.blobs, unused.layers);
            findings.push(Finding { subject: "content unused".to_owned(), problem, repaired: true });
        }
        Ok(())
    }

    fn check_blobs(&self, repair: bool, findings: &mut Vec<Finding>) -> Result<(), Error> {
        for (digest, _) in self.blobs()? {
            match self.blob_is_sound(&digest) {
                Ok(true) | Err(Error::NoBlob(_)) => continue,
                Ok(false) => {}
                Err(error @ Error::Io { .. }) => {
                    let problem = format!("cannot be read: {}", chain_text(&error));
                    findings.push(Finding { subject: format!("blob {digest}"), problem, repaired: false });
                    continue;
                }
                Err(error) => return Err(error),
            }
            if repair {
                remove(&self.blob_path(&digest))?;
            }
            let problem = "its bytes are not those that its digest names".to_owned();
            findings.push(Finding { subject: format!("blob {digest}"), problem, repaired: repair });
        }
        Ok(())
    }

    fn check_layers(&self, repair: bool, findings: &mut Vec<Finding>) -> Result<(), Error> {
        let layers = self.layers()?;
        let archives = self.archives()?;
        let here: HashSet<ChainId> =
            layers.iter().filter(|(_, layer)| layer.is_ok()).map(|(chain, _)| chain.clone()).collect();
        for (chain, layer) in layers {
            let problem = match layer {
                Err(error) => chain_text(&error),
                Ok(layer) if ChainId::on(layer.parent.as_ref(), &layer.diff_id) != chain => {
                    "its description belongs to another layer".to_owned()
                }
                // Looked at again: one that was made while we listed may not have been listed.
                Ok(layer)
                    if layer.parent.as_ref().is_some_and(|parent| {
                        !here.contains(parent) && !matches!(self.layer(parent), Ok(Some(_)))
                    }) =>
                {
                    "the layer below it is missing".to_owned()
                }
                Ok(layer) if self.halves(&layer).is_err() => {
                    "the layer that has most of its files is missing".to_owned()
                }
                Ok(layer) if !self.layer_dir(&chain).join("diff").is_dir() => {
                    format!("the files of {} are missing", layer.diff_id)
                }
                // Only what was packed here can be packed again to the same bytes.
                Ok(layer) if layer.archive_size.is_some() => match self.layer_tar(&layer, std::io::sink()) {
                    Ok(()) => continue,
                    Err(error) => chain_text(&error),
                },
                Ok(layer) => {
                    if let Some(archive) = archives.get(&chain) {
                        findings.extend(self.check_against(&layer, archive, repair)?);
                    }
                    continue;
                }
            };
            if repair {
                remove(&self.layer_dir(&chain))?;
            }
            findings.push(Finding { subject: format!("layer {chain}"), problem, repaired: repair });
        }
        Ok(())
    }

    /// The archives that the layers of images came in.
    fn archives(&self) -> Result<HashMap<ChainId, Digest>, Error> {
        let images = self.images()?.into_iter().filter_map(|(_, image)| image.ok());
        let of_image = |image: crate::Image| {
            let chains = ChainId::all(&image.config.rootfs.diff_ids);
            chains.into_iter().zip(image.manifest.layers.into_iter().map(|layer| layer.digest))
        };
        Ok(images.flat_map(of_image).collect())
    }

    /// A layer that came from elsewhere, with the archive that it came in, from which it can be made anew.
    fn check_against(&self, layer: &Layer, archive: &Digest, repair: bool) -> Result<Option<Finding>, Error> {
        let subject = format!("layer {}", layer.chain_id);
        let compared = self.copy_of(layer, archive).and_then(|copy| match copy {
            Some(copy) => Ok(self.differs(layer, &copy)?.map(|problem| (problem, copy))),
            None => Ok(None),
        });
        match compared {
            Ok(None) => Ok(None),
            Ok(Some((problem, copy))) => {
                if repair {
                    self.restore(layer, copy)?;
                }
                Ok(Some(Finding { subject, problem, repaired: repair }))
            }
            Err(error) => {
                let problem =
                    format!("cannot be compared with its archive {archive}: {}", chain_text(&error));
                Ok(Some(Finding { subject, problem, repaired: false }))
            }
        }
    }

    fn check_images(&self, repair: bool, findings: &mut Vec<Finding>) -> Result<(), Error> {
        for (record, image) in self.images()? {
            let problem = match image {
                Err(error) => chain_text(&error),
                Ok(image) => match self.chain(image.chain().as_ref()) {
                    Err(error) => chain_text(&error),
                    Ok(_) => {
                        self.check_layer_blobs(&image, findings)?;
                        continue;
                    }
                },
            };
            if repair {
                self.db().write(|tx| images::remove(tx, &record.digest))?;
            }
            findings.push(Finding { subject: format!("image {}", record.id), problem, repaired: repair });
        }
        Ok(())
    }

    /// A layer's blob may be missing: the image runs, and can't be saved or pushed.
    fn check_layer_blobs(&self, image: &crate::Image, findings: &mut Vec<Finding>) -> Result<(), Error> {
        let chains = ChainId::all(&image.config.rootfs.diff_ids);
        for (descriptor, chain) in image.manifest.layers.iter().zip(chains) {
            let made_here = self.layer(&chain)?.is_some_and(|layer| layer.archive_size.is_some());
            let remade = made_here && is_diff_id(&descriptor.digest, image);
            if !remade && self.blob_size(&descriptor.digest)?.is_none() {
                let problem =
                    format!("the archive {} of a layer is missing: pull or load it again", descriptor.digest);
                findings.push(Finding { subject: format!("image {}", image.id), problem, repaired: false });
            }
        }
        Ok(())
    }

    fn check_tags(&self, repair: bool, findings: &mut Vec<Finding>) -> Result<(), Error> {
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
            findings.push(Finding { subject, problem, repaired: repair });
        }
        Ok(())
    }
}

fn is_diff_id(digest: &Digest, image: &crate::Image) -> bool {
    image.config.rootfs.diff_ids.contains(digest)
}

/// An error with all its causes.
fn chain_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
