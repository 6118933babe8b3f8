"""Mails from templates: Jinja, signed links, MIME. Takes plain values; knows neither store nor project.

templates.py    Templates(folder, language).load(name) -> Template.render(context) -> Rendered
environment.py  the sandbox and its filters: money, date, datetime, plural
flatten.py      a layout and its blocks become one source, so that CSS can be inlined before rendering
inline.py       CSS into style attributes at compile time, or per mail where that is impossible
check.py        what `drumbeat validate` says about a template
notes.py        the templates of SMS, Telegram, webhooks and tasks; check_notes.py and note_rules.py judge them
sms.py          how long an SMS is, and in how many segments it goes
telegram.py     Telegram's own HTML
links.py        signed links: click, open, unsubscribe
secret.py       the key they are signed with
headers.py      addresses, names and subjects as header lines
mime.py         the parts: quoted-printable, or as they are
compose.py      a skeleton built once, and each mail as bytes
identity.py     Message-ID, return path, and the message that either names
dkim.py         signatures
"""
