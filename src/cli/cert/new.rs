//! `cert new NAME...`: a certificate of the development CA as PEM files, under mkcert's file names.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::super::{CONFIG, ConfigFile, ca, report};
use super::{moment, render};
use crate::tls::{self, Issued, private_files};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Host names, *.name, and addresses
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// The file of the certificate; default: the first name and how many more, such as ./app.test+2.pem
    #[arg(long, value_name = "FILE")]
    cert_file: Option<PathBuf>,
    /// The file of the key; default: the same with -key
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// For a client that shows it
    #[arg(long)]
    client: bool,
    /// Replace files that are there
    #[arg(long)]
    force: bool,
}

pub(super) fn main(arguments: &Arguments, file: &ConfigFile, color: bool) -> anyhow::Result<ExitCode> {
    let settings = match ca::settings(file) {
        Ok((settings, _)) => settings,
        Err(problems) => return Ok(report::problems(&problems, color)),
    };
    let stem = stem(&arguments.names, arguments.client);
    let cert = arguments.cert_file.clone().unwrap_or_else(|| format!("./{stem}.pem").into());
    let key = arguments.key_file.clone().unwrap_or_else(|| format!("./{stem}-key.pem").into());
    if !arguments.force
        && let Some(there) = [&cert, &key].into_iter().find(|path| path.symlink_metadata().is_ok())
    {
        anyhow::bail!(
            "{} is there already, and nothing was written\nhelp: --force replaces it; --cert-file and --key-file name others",
            there.display()
        );
    }
    let issued = match tls::issue(&settings, &arguments.names, arguments.client) {
        Ok(issued) => issued,
        Err(problems) => {
            eprint!("{}", render(&problems, color));
            return Ok(ExitCode::from(CONFIG));
        }
    };
    write(&issued, &cert, &key, arguments.force)?;
    eprintln!("certificate   {}", cert.display());
    eprintln!("key           {} (only you can read it)", key.display());
    eprintln!("names         {}", issued.names.texts().join(", "));
    eprintln!("valid until   {}", moment(issued.not_after));
    if let Some(root) = &issued.root {
        eprintln!("signed by     {}", root.display());
    }
    if arguments.client {
        eprintln!(
            "a site asks for it with the line below; a client shows it: curl --cert {} --key {}",
            cert.display(),
            key.display()
        );
    } else {
        eprintln!("browsers accept it once they trust that root: vestibule trust");
    }
    report::data(&lines(&issued, &cert, &key, arguments.client));
    Ok(ExitCode::SUCCESS)
}

/// The key first: a certificate without its key is of no use. Where the second file fails, the first is taken back, unless it
/// has replaced another.
fn write(issued: &Issued, cert: &Path, key: &Path, force: bool) -> anyhow::Result<()> {
    let said = |path: &Path, error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => anyhow::anyhow!("{} is there already: --force replaces it", path.display()),
        _ => anyhow::anyhow!("{} cannot be written: {error}", path.display()),
    };
    if cert == key {
        let both = format!("{}{}", issued.cert_pem, issued.key_pem);
        return private_files::publish(cert, &both, 0o600, force).map_err(|error| said(cert, error));
    }
    private_files::publish(key, &issued.key_pem, 0o600, force).map_err(|error| said(key, error))?;
    private_files::publish(cert, &issued.cert_pem, 0o644, force).map_err(|error| {
        if !force {
            // The first error is the one to tell.
            let _ = std::fs::remove_file(key);
        }
        said(cert, error)
    })
}

/// What a config says to use it.
fn lines(issued: &Issued, cert: &Path, key: &Path, client: bool) -> String {
    let quoted = |path: &Path| {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        serde_json::Value::String(path.display().to_string()).to_string()
    };
    if client {
        let root = issued.root.as_deref().unwrap_or(Path::new("root.crt"));
        return format!("tls = {{ client_auth = {{ mode = \"require\", ca = {} }} }}\n", quoted(root));
    }
    format!("[tls]\ncertificates = [{{ cert = {}, key = {} }}]\n", quoted(cert), quoted(key))
}

/// mkcert's: the first name, how many more, and whether it is a client's.
fn stem(names: &[String], client: bool) -> String {
    let first = names.first().map(String::as_str).unwrap_or_default();
    let mut stem = first.replace(':', "_").replace('*', "_wildcard").replace('/', "_");
    if names.len() > 1 {
        stem += &format!("+{}", names.len() - 1);
    }
    if client { stem + "-client" } else { stem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_file_names_are_those_of_mkcert() {
        let stem =
            |names: &[&str], client| stem(&names.iter().map(|name| name.to_string()).collect::<Vec<_>>(), client);
        assert_eq!(stem(&["app.test"], false), "app.test");
        assert_eq!(stem(&["app.test", "*.app.test", "::1"], false), "app.test+2");
        assert_eq!(stem(&["*.app.test"], true), "_wildcard.app.test-client");
        assert_eq!(stem(&["::1", "127.0.0.1"], false), "__1+1");
    }
}
