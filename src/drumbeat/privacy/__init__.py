"""Privacy: what is held about a person, out as one document; gone at their request; gone after its time.

registry      what every column of every table is, of whom, and what becomes of it: a table by hand
person        who is meant, and which addresses are theirs alone
names         whether a text tells who somebody is
inbox         which stored calls and mails name somebody
export        everything about a person as JSON
erase         a person's data gone, figures whole
files         what stands on disk beside the database
late          what came in about erased people afterwards
retention     what is kept how long
"""
