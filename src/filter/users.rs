//! The users of `basic_auth`: a file as `htpasswd` writes it, and threads that check passwords.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use argon2::{Argon2, PasswordVerifier};
use aws_lc_rs::hmac;
use tokio::sync::oneshot;

use crate::config::BasicAuth;
use crate::config::diagnostics::Diagnostic;

/// A file of users above this size is a mistake.
const MAX_FILE: u64 = 4 << 20;
/// Checks at once: a check is slow and takes memory by design, and the workers need the processors too.
const THREADS: usize = 2;
/// Checks that wait for a thread; further ones are refused.
const QUEUE: usize = 64;
/// Passwords a worker remembers to be right, and for how long.
const REMEMBERED: usize = 1024;
const REMEMBER: Duration = Duration::from_secs(300);

/// Names and hashes.
#[derive(Debug)]
pub struct Users {
    hashes: HashMap<Box<[u8]>, Arc<str>>,
    /// Checked for a name nobody has, so that it takes as long.
    stranger: Arc<str>,
}

/// What a check gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    Right,
    Wrong,
    /// Too many checks wait already.
    Busy,
}

impl Users {
    /// Reads the users' file.
    ///
    /// # Errors
    /// It cannot be read, or a line is no user with a bcrypt or argon2 hash.
    pub fn load(rules: &BasicAuth) -> Result<Users, Box<Diagnostic>> {
        let path = &rules.users_file;
        let problem = |what: String| {
            let message = format!("the users of {} cannot be used: {what}", path.display());
            Diagnostic::error("users-file", message).label("from here").at(&rules.origin)
        };
        let refused = |what: String| problem(what).boxed();
        let size = fs::metadata(path).map_err(|error| refused(error.to_string()))?.len();
        if size > MAX_FILE {
            return Err(refused(format!("{size} bytes is no list of users")));
        }
        let text = fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
        Users::parse(&text).map_err(|(line, why, help)| problem(format!("line {line}: {why}")).help(help).boxed())
    }

    fn parse(text: &str) -> Result<Users, (usize, &'static str, &'static str)> {
        const BCRYPT: &str = "`htpasswd -B` writes such hashes";
        let mut hashes: HashMap<Box<[u8]>, Arc<str>> = HashMap::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |why, help| (index + 1, why, help);
            let (name, hash) = line.split_once(':').ok_or_else(|| wrong("it is not `name:hash`", BCRYPT))?;
            if name.is_empty() {
                return Err(wrong("the name is missing", BCRYPT));
            }
            if !is_known(hash) {
                let why = match hash.get(..5) {
                    Some("$apr1") => "MD5 hashes are broken",
                    Some("{SHA}") => "SHA-1 hashes without salt are broken",
                    _ => "this is no bcrypt or argon2 hash",
                };
                return Err(wrong(why, BCRYPT));
            }
            if hashes.insert(name.as_bytes().into(), hash.into()).is_some() {
                return Err(wrong("the name is there twice", "keep one of the lines"));
            }
        }
        let stranger = hashes.values().next().cloned().ok_or((1, "there is no user", BCRYPT))?;
        Ok(Users { hashes, stranger })
    }

    /// Checks a name and password, off this thread unless this worker has done so lately.
    pub async fn check(&self, name: &[u8], password: &[u8]) -> Checked {
        let known = self.hashes.get(name);
        let mark = known.map(|hash| mark(name, password, hash));
        if mark.is_some_and(|mark| is_remembered(&mark)) {
            return Checked::Right;
        }
        let (done, answer) = oneshot::channel();
        let hash = known.unwrap_or(&self.stranger).clone();
        let job = Job { hash, password: password.to_vec(), done };
        if threads().try_send(job).is_err() {
            return Checked::Busy;
        }
        match (answer.await, mark) {
            (Ok(true), Some(mark)) => {
                remember(mark);
                Checked::Right
            }
            _ => Checked::Wrong,
        }
    }

    /// The same on this thread.
    pub fn knows(&self, name: &[u8], password: &[u8]) -> bool {
        self.hashes.get(name).is_some_and(|hash| verify(password, hash))
    }
}

fn is_known(hash: &str) -> bool {
    if hash.starts_with("$argon2") {
        return argon2::PasswordHash::new(hash).is_ok();
    }
    hash.starts_with("$2") && hash.parse::<bcrypt::HashParts>().is_ok()
}

struct Job {
    hash: Arc<str>,
    password: Vec<u8>,
    done: oneshot::Sender<bool>,
}

/// The checking threads of the process, started by the first check.
fn threads() -> &'static SyncSender<Job> {
    static THREADS_QUEUE: OnceLock<SyncSender<Job>> = OnceLock::new();
    THREADS_QUEUE.get_or_init(|| {
        let (jobs, queue) = sync_channel(QUEUE);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..THREADS {
            let queue = queue.clone();
            let thread = std::thread::Builder::new().name("passwords".into()).spawn(move || work(&queue));
            if let Err(error) = thread {
                tracing::error!("no thread for checking passwords: {error}");
            }
        }
        jobs
    })
}

fn work(queue: &Mutex<Receiver<Job>>) {
    loop {
        // Only the checking threads share this lock, and they hold it while they have nothing to do.
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { hash, password, done }) = job else { return };
        // Nobody may be waiting any more.
        if !done.is_closed() {
            let _ = done.send(verify(&password, &hash));
        }
    }
}

fn verify(password: &[u8], hash: &str) -> bool {
    if hash.starts_with("$argon2") {
        return Argon2::default().verify_password(password, hash).is_ok();
    }
    bcrypt::verify(password, hash).unwrap_or(false)
}

type Mark = [u8; 32];

thread_local! {
    static LATELY: RefCell<HashMap<Mark, Instant>> = RefCell::default();
}

/// What stands for a name, password and hash in memory: with a key of this process, so that it is worth nothing to
/// somebody who reads it, and with the hash, so that a changed password is forgotten.
fn mark(name: &[u8], password: &[u8], hash: &str) -> Mark {
    static KEY: OnceLock<hmac::Key> = OnceLock::new();
    let key = KEY.get_or_init(|| {
        let mut secret = [0; 32];
        // Without randomness of the system TLS could not have started either; a key of zeros still hides nothing less
        // than the password's hash.
        let _ = aws_lc_rs::rand::fill(&mut secret);
        hmac::Key::new(hmac::HMAC_SHA256, &secret)
    });
    let mut context = hmac::Context::with_key(key);
    for part in [name, password, hash.as_bytes()] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut mark = [0; 32];
    mark.copy_from_slice(context.sign().as_ref());
    mark
}

fn is_remembered(mark: &Mark) -> bool {
    LATELY.with_borrow(|lately| lately.get(mark).is_some_and(|until| *until > Instant::now()))
}

fn remember(mark: Mark) {
    LATELY.with_borrow_mut(|lately| {
        let now = Instant::now();
        if lately.len() >= REMEMBERED {
            lately.retain(|_, until| *until > now);
        }
        if lately.len() >= REMEMBERED {
            lately.clear();
        }
        lately.insert(mark, now + REMEMBER);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    // "secret" at the least cost each.
    const BCRYPT: &str = "$2y$04$QcT0K9UpnScUhoErQzpTPeFU5Dx9dKWy6jPSoZDUBwf/0JWr4UZ4i";

    fn hash() -> String {
        bcrypt::hash("secret", 4).unwrap()
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_right_password_passes_and_is_remembered() {
        let users = Users::parse(&format!("# people\n\njoe:{}\n", hash())).unwrap();
        assert_eq!(users.check(b"joe", b"wrong").await, Checked::Wrong);
        assert_eq!(users.check(b"ann", b"secret").await, Checked::Wrong);
        assert_eq!(users.check(b"joe", b"secret").await, Checked::Right);
        assert!(is_remembered(&mark(b"joe", b"secret", &users.hashes[&b"joe"[..]])));
        assert!(!is_remembered(&mark(b"joe", b"wrong", &users.hashes[&b"joe"[..]])));
        assert!(!is_remembered(&mark(b"joe", b"secret", BCRYPT)), "another hash is another password");
    }

    #[test]
    fn argon2_hashes_are_known() {
        let hash = "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$";
        assert!(!is_known(hash));
        let params = argon2::Params::new(64, 1, 1, None).unwrap();
        let argon = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        let hash = argon2::PasswordHasher::hash_password_with_salt(&argon, b"secret", b"saltsalt").unwrap().to_string();
        assert!(is_known(&hash) && verify(b"secret", &hash) && !verify(b"other", &hash), "{hash}");
    }

    #[test]
    fn a_file_that_is_none_of_users_says_which_line_and_why() {
        let good = hash();
        let table = [
            ("joe", 1, "not `name:hash`"),
            ("\njoe:$apr1$x$y", 2, "MD5"),
            ("joe:{SHA}abc", 1, "SHA-1"),
            ("joe:secret", 1, "no bcrypt"),
            ("joe:$2y$04$short", 1, "no bcrypt"),
            ("", 1, "no user"),
        ];
        for (text, line, why) in table {
            let (at, what, _) = Users::parse(text).expect_err(text);
            assert!(at == line && what.contains(why), "{text}: {at} {what}");
        }
        assert_eq!(Users::parse(&format!("a:{good}\na:{good}")).unwrap_err().0, 2);
    }

    #[test]
    fn memory_is_bounded() {
        for n in 0..REMEMBERED as u64 * 2 {
            remember(mark(&n.to_be_bytes(), b"", ""));
        }
        assert!(LATELY.with_borrow(HashMap::len) <= REMEMBERED);
    }
}
