"""`drumbeat doctor`: what mail servers will find out about a sender, before they do.

findings.py   a finding: which check, about what, how it stands, what was found, what to do
setup.py      what is examined: senders, servers, provider, links
dns.py        questions to the DNS, with an end to all waiting
checks.py     the checks, listed by hand; each is a function in the file of its theme
terminal.py   the findings for people
"""
