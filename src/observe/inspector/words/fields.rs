//! What header fields are for.

/// What a header field is for, by its name in lower case: who reads it. English, then Chinese.
pub(super) static FIELDS: &[(&str, &str, &str)] = &[
    ("host", "Which site is meant; the proxy routes by it.", "要访问哪个站点；代理据此路由。"),
    ("connection", "About this one connection, so it is never passed on.", "只关乎这一条连接，因此从不转发。"),
    ("keep-alive", "About this one connection, so it is never passed on.", "只关乎这一条连接，因此从不转发。"),
    (
        "upgrade-insecure-requests",
        "The browser says that it prefers https; http = \"upgrade\" listens to it.",
        "浏览器表示更愿意用 https；http = \"upgrade\" 会采纳。",
    ),
    ("user-agent", "Which program asks; goes into the access log.", "是哪个程序在请求；会写入访问日志。"),
    (
        "accept",
        "Which formats the client wants; the proxy's own error pages follow it.",
        "客户端想要的格式；代理的错误页据此选择。",
    ),
    (
        "referer",
        "The page the link was on: it leaks addresses, query included.",
        "链接所在的页面：会泄露地址，包括查询参数。",
    ),
    ("accept-encoding", "Which compressions the client can read.", "客户端能解的压缩格式。"),
    (
        "cookie",
        "Who the client is to the site: whoever reads it on the way can be that client.",
        "客户端在站点的身份：途中谁读到它，谁就能冒充。",
    ),
    ("set-cookie", "A new cookie; Secure keeps it off plain connections.", "新的 Cookie；Secure 使它不走明文连接。"),
    (
        "x-requested-with",
        "A script asks, not a navigation; errors come as JSON.",
        "是脚本在请求，不是页面跳转；错误以 JSON 返回。",
    ),
    (
        "x-forwarded-for",
        "The client's address, which the server cannot see itself.",
        "客户端的地址，服务器自己看不到。",
    ),
    (
        "x-forwarded-proto",
        "How the client came: http or https (wsgi.url_scheme).",
        "客户端怎么来的：http 还是 https（wsgi.url_scheme）。",
    ),
    ("x-forwarded-host", "The host the client asked for.", "客户端请求的主机名。"),
    ("x-forwarded-port", "The port the client came to.", "客户端连接的端口。"),
    ("via", "Which proxies passed it on; a loop is found by it.", "经过了哪些代理；据此发现循环。"),
    (
        "strict-transport-security",
        "HSTS: from now on the browser skips plain http.",
        "HSTS：此后浏览器不再使用明文 http。",
    ),
    ("authorization", "A password or token: in clear on a plain wire.", "密码或令牌：在明文线路上谁都能读。"),
    ("server-timing", "The times of this request, for the browser's tools.", "本次请求各步的用时，供浏览器工具显示。"),
    ("location", "Where the answer is instead.", "答案所在的位置。"),
];
