use std::io::Write as _;

use oci::Reference;

use crate::container::config::{self, Flags, Plan};
use crate::container::run::usage;
use crate::context::Cli;
use crate::error::Error;
use crate::image::pull;
use crate::verbs::Outcome;

/// Flags of making a container that the server never sees.
#[derive(clap::Args)]
pub struct Options {
    /// Write the container's id to this file
    #[arg(long)]
    cidfile: Option<String>,
    /// Name of the container
    #[arg(long)]
    name: Option<String>,
    /// Platform of the image, such as linux/arm64
    #[arg(long)]
    platform: Option<String>,
    /// Fetch the image before: "always", "missing" or "never"
    #[arg(long, default_value = "missing")]
    pull: String,
    /// Do not show the progress of fetching the image
    #[arg(short, long)]
    quiet: bool,
}

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    create: Options,
    #[command(flatten)]
    flags: Flags,
    #[arg(trailing_var_arg = true)]
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let plan = config::plan(cli, &args.flags, &args.args, false).map_err(|error| usage(cli, error))?;
    let id = create(cli, &args.create, plan).await?;
    cli.println(&id)?;
    Ok(0)
}

/// Makes the container, fetching its image when that is missing, and returns the id.
pub async fn create(cli: &Cli, options: &Options, mut plan: Plan) -> Result<String, Error> {
    if !matches!(options.pull.as_str(), "always" | "missing" | "never") {
        return Err(Error::new(format!(
            "invalid pull option: '{}': must be one of \"always\", \"missing\" or \"never\"",
            options.pull
        )));
    }
    let image = plan.request.config.image.clone();
    // An id is no reference and cannot be pulled.
    let reference = match Reference::parse(&image) {
        Ok(reference) => Some(reference),
        Err(_) if image.len() == 64 || image.starts_with("sha256:") => None,
        Err(error) => return Err(Error::new(error.to_string())),
    };
    let cidfile = options.cidfile.as_deref().map(|path| CidFile::open(cli, path)).transpose()?;
    if let (Some(path), Some(host)) = (&options.cidfile, &mut plan.request.host_config) {
        host.container_id_file.clone_from(path);
    }
    let client = cli.client()?;
    let platform = options.platform.clone().unwrap_or_default();
    let name = options.name.clone().unwrap_or_default();
    let fetch = |reference: Reference| pull::fetch(cli, reference, platform.clone(), options.quiet, true);
    if let (Some(reference), "always") = (&reference, options.pull.as_str()) {
        fetch(reference.clone()).await?;
    }
    let first = client::containers::create(client, &name, &platform, &plan.request).await;
    let answer = match (first, reference) {
        (Err(error), Some(reference))
            if error.is_not_found() && options.pull == "missing" && is_image_missing(&error) =>
        {
            if !options.quiet {
                cli.complain(&format!("Unable to find image '{}' locally", reference.familiar()));
            }
            fetch(reference).await?;
            client::containers::create(client, &name, &platform, &plan.request).await?
        }
        (first, _) => first?,
    };
    for warning in &answer.warnings {
        cli.complain(&format!("WARNING: {warning}"));
    }
    if let Some(file) = cidfile {
        file.write(&answer.id)?;
    }
    Ok(answer.id)
}

/// A missing network is "not found" too, and no pull helps there.
fn is_image_missing(error: &client::Error) -> bool {
    let text = error.to_string().to_lowercase();
    text.contains("image") || text.contains("manifest")
}

/// The file of `--cidfile`: made before the container, so that two runs cannot share it; removed when there
/// comes no container.
struct CidFile {
    path: std::path::PathBuf,
    file: std::fs::File,
    written: bool,
}

impl CidFile {
    fn open(cli: &Cli, path: &str) -> Result<CidFile, Error> {
        let full = cli.host.directory.join(path);
        let made = || std::fs::OpenOptions::new().write(true).create_new(true).open(&full);
        let file = sys::daemon::with_mask_as_before(made).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => Error::new(format!(
                "container ID file found, make sure the other container isn't running or delete {path}"
            )),
            _ => Error::file("failed to create the container ID file: open", path, &error),
        })?;
        Ok(CidFile { path: full, file, written: false })
    }

    fn write(mut self, id: &str) -> Result<(), Error> {
        self.file.write_all(id.as_bytes()).map_err(|error| {
            Error::file("failed to write the container ID to the file: write", &self.path, &error)
        })?;
        self.written = true;
        Ok(())
    }
}

impl Drop for CidFile {
    fn drop(&mut self) {
        if !self.written {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
