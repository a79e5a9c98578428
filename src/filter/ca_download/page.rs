//! The page that says, in three steps for each kind of device, how it comes to trust the root. No script, and nothing is
//! loaded from anywhere.

use std::fmt::Write as _;

pub(super) const STYLE: &str = include_str!("style.css");

/// What a reader holds in the hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Device {
    /// An iPhone or an iPad.
    Apple,
    Android,
    Computer,
}

impl Device {
    /// Reads `User-Agent`. An iPad that asks for pages of computers says that it is one: the page has all devices.
    pub fn of(user_agent: &[u8]) -> Device {
        let names = |name: &str| memchr::memmem::find(user_agent, name.as_bytes()).is_some();
        if names("iPhone") || names("iPad") || names("iPod") {
            Device::Apple
        } else if names("Android") {
            Device::Android
        } else {
            Device::Computer
        }
    }
}

/// What the page says, in one language.
struct Words {
    lang: &'static str,
    title: &'static str,
    lead: &'static str,
    apple: Steps,
    android: Steps,
    computer: Steps,
    open: &'static str,
    compare: &'static str,
    undo: &'static str,
}

/// The way of one kind of device. The first step is the download.
struct Steps {
    device: &'static str,
    download: &'static str,
    then: [&'static str; 2],
    note: &'static str,
}

/// The page, with the reader's own device open.
pub(super) fn text(device: Device, chinese: bool) -> String {
    let words = if chinese { &ZH } else { &EN };
    let mut out = format!(
        "<!doctype html>\n<html lang=\"{}\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{}</title>\n<style>{STYLE}</style>\n<h1>{}</h1>\n<p>{}</p>\n",
        words.lang, words.title, words.title, words.lead
    );
    let all = [
        (Device::Apple, &words.apple, "mobileconfig"),
        (Device::Android, &words.android, "crt"),
        (Device::Computer, &words.computer, "crt"),
    ];
    let (own, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|(kind, ..)| *kind == device);
    for (kind, steps, form) in own.into_iter().chain(others) {
        let open = if kind == device { " open" } else { "" };
        // Writing into a String cannot fail.
        let _ = writeln!(
            out,
            "<details{open}><summary>{}</summary>\n<ol><li><a class=\"button\" href=\"?{form}\">{}</a></li>\n<li>{}</li>\n\
             <li>{}</li></ol>\n<p class=\"dim\">{}</p></details>",
            steps.device, steps.download, steps.then[0], steps.then[1], steps.note
        );
    }
    let _ = write!(
        out,
        "<p><a class=\"button\" href=\"/\">{}</a></p>\n<p><small>{}</small></p>\n<p><small>{}</small></p>\n</html>\n",
        words.open, words.compare, words.undo
    );
    out
}

static EN: Words = Words {
    lang: "en",
    title: "Trust this computer’s certificate",
    lead: "An app on a computer of this network is served over HTTPS. Its certificate comes from that computer itself, so \
           this device warns until it knows the root. Three steps, once. Take them only if the computer is yours.",
    apple: Steps {
        device: "iPhone, iPad",
        download: "Download the profile",
        then: [
            "Settings → <b>Profile Downloaded</b> (or General → VPN &amp; Device Management) → <b>Install</b>",
            "Settings → General → About → <b>Certificate Trust Settings</b> → switch on <b>vestibule development CA</b>",
        ],
        note: "In Safari. Without the third step the warning stays.",
    },
    android: Steps {
        device: "Android",
        download: "Download the certificate",
        then: [
            "Settings: search for <b>CA certificate</b> (Security → Encryption &amp; credentials → Install a certificate)",
            "<b>Install anyway</b>, and choose <b>vestibule-root.crt</b> among the downloads",
        ],
        note: "Chrome trusts it from then on. Other apps do only where their makers allow it, such as in debug builds.",
    },
    computer: Steps {
        device: "Computer",
        download: "Download the certificate",
        then: [
            "macOS: open it, then in Keychain Access set it to <b>Always Trust</b>. Windows: open it → Install Certificate → \
             <b>Trusted Root Certification Authorities</b>. Linux: Chromium’s settings → Security → Manage certificates",
            "Start the browser anew",
        ],
        note: "Firefox keeps a list of its own: Settings → Privacy &amp; Security → View Certificates → Authorities → Import.",
    },
    open: "Open the app",
    compare: "This page came in clear. Compare the SHA‑256 fingerprint that the device shows for the certificate with the \
              one in the terminal of the computer.",
    undo: "The root is valid for local names and private addresses only. Its key stays on the computer. To undo: remove the \
           profile, or the certificate among the user credentials.",
};

static ZH: Words = Words {
    lang: "zh",
    title: "信任这台电脑的证书",
    lead: "本网络中一台电脑上的应用通过 HTTPS 提供服务。它的证书由那台电脑自己签发，所以在认识其根证书之前，本设备会发出警告。\
           只需一次，三个步骤。请仅在那台电脑属于您时操作。",
    apple: Steps {
        device: "iPhone、iPad",
        download: "下载描述文件",
        then: [
            "设置 → <b>已下载描述文件</b>（或：通用 → VPN 与设备管理）→ <b>安装</b>",
            "设置 → 通用 → 关于本机 → <b>证书信任设置</b> → 打开 <b>vestibule development CA</b>",
        ],
        note: "请使用 Safari。不做第三步，警告不会消失。",
    },
    android: Steps {
        device: "安卓",
        download: "下载证书",
        then: [
            "设置：搜索 <b>CA 证书</b>（安全 → 加密与凭据 → 安装证书）",
            "<b>仍然安装</b>，然后在下载内容中选择 <b>vestibule-root.crt</b>",
        ],
        note: "之后 Chrome 会信任它。其他应用只有在其开发者允许时才信任，例如调试版本。",
    },
    computer: Steps {
        device: "电脑",
        download: "下载证书",
        then: [
            "macOS：打开它，在“钥匙串访问”中设为<b>始终信任</b>。Windows：打开它 → 安装证书 → <b>受信任的根证书颁发机构</b>。\
             Linux：Chromium 的设置 → 安全 → 管理证书",
            "重新启动浏览器",
        ],
        note: "Firefox 有自己的列表：设置 → 隐私与安全 → 查看证书 → 证书颁发机构 → 导入。",
    },
    open: "打开应用",
    compare: "本页以明文传输。请将设备显示的证书 SHA‑256 指纹与电脑终端中的指纹进行比较。",
    undo: "该根证书只对本地名称和私有地址有效，其私钥不会离开电脑。撤销：删除描述文件，或在用户凭据中删除该证书。",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readers_own_device_comes_first_and_open_and_the_others_are_there() {
        for chinese in [false, true] {
            for (device, name) in [(Device::Apple, "iPhone"), (Device::Computer, "Firefox")] {
                let page = text(device, chinese);
                assert_eq!((page.matches("<details open>").count(), page.matches("<details").count()), (1, 3));
                let first = page.split("<details").nth(1).unwrap();
                assert!(first.starts_with(" open>") && first.contains(name), "{first}");
            }
        }
    }

    #[test]
    fn the_page_loads_nothing_and_runs_nothing() {
        for chinese in [false, true] {
            let page = text(Device::Android, chinese);
            for word in ["<script", "src=", "http:", "https:", "url(", "@import"] {
                assert!(!page.contains(word), "{word}");
            }
        }
    }
}
