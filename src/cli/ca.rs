//! `ca`: the root certificate of the development CA, for clients that should trust it.

use std::path::Path;
use std::process::ExitCode;

use super::{ConfigFile, find, report};
use crate::config::{self, DevCa, Sources};
use crate::tls;
use crate::trust;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: ConfigFile,
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Print where the root certificate is, making it if it is missing
    Path,
    /// Print the root certificate as PEM, making it if it is missing
    Print,
    /// Print what makes Node.js, Python and OpenSSL trust the root: variables for a shell, or options of `docker run`
    Env {
        /// Options of `docker run` or `podman run` in place of variables
        #[arg(long)]
        docker: bool,
    },
}

pub(super) fn main(arguments: &Arguments, color: bool) -> anyhow::Result<ExitCode> {
    let (settings, sources) = match settings(&arguments.file) {
        Ok(found) => found,
        Err(problems) => return Ok(report::problems(&problems, color)),
    };
    let pem = match tls::root_pem(&settings) {
        Ok(pem) => pem,
        Err(problem) => {
            eprint!("{}", config::render_diagnostics(&[*problem], &sources, color));
            return Ok(ExitCode::FAILURE);
        }
    };
    match arguments.what {
        What::Print => report::data(&pem),
        What::Env { docker } => {
            let path = tls::root_path(&settings).and_then(|path| std::path::absolute(path).ok());
            let Some((path, dir)) = path.as_deref().and_then(|path| Some((path, path.parent()?))) else {
                anyhow::bail!("the root has no folder here: set HOME, VESTIBULE_STATE_DIR or dev_ca.dir");
            };
            let bundle = trust::write_bundle(dir, &pem)?;
            report::data(&if docker { for_docker(&bundle) } else { for_shell(path, &bundle) });
        }
        What::Path => match tls::root_path(&settings) {
            Some(path) => report::data(&format!("{}\n", path.display())),
            None => anyhow::bail!("the root has no folder here: set HOME, VESTIBULE_STATE_DIR or dev_ca.dir"),
        },
    }
    Ok(ExitCode::SUCCESS)
}

/// What programs take a whole list from: OpenSSL and what is linked with it, Python's requests, pip.
const BUNDLE: [&str; 3] = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT"];
/// Node.js adds to its own list.
const ADD: &str = "NODE_EXTRA_CA_CERTS";

fn for_shell(root: &Path, bundle: &Path) -> String {
    let quoted = |path: &Path| format!("'{}'", path.display().to_string().replace('\'', "'\\''"));
    let mut text = format!("export {ADD}={}\n", quoted(root));
    for name in BUNDLE {
        text += &format!("export {name}={}\n", quoted(bundle));
    }
    text
}

/// The root's key stays outside.
fn for_docker(bundle: &Path) -> String {
    const INSIDE: &str = "/etc/vestibule-ca.pem";
    let mut text = format!("--volume={}:{INSIDE}:ro", bundle.display());
    for name in BUNDLE.iter().chain([&ADD]) {
        text += &format!(" --env={name}={INSIDE}");
    }
    text + "\n"
}

/// The `[dev_ca]` of the config a bare `vestibule` would run.
pub(super) fn settings(file: &ConfigFile) -> Result<(DevCa, Sources), config::Problems> {
    let loaded = match find::find(file) {
        Some(source) => find::load(&source)?,
        None => config::parse("the built-in config", find::DEMONSTRATION, Path::new(""))?,
    };
    Ok((loaded.config.dev_ca, loaded.sources))
}
