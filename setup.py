import re
from pathlib import Path

from setuptools import setup

# A package index shows README.md apart from the files that it links to.
text = Path(__file__).with_name("README.md").read_text("utf-8")
text = re.sub(r"<!--.*?-->\n?|^!\[[^]]*\]\((?!https?:)[^)]*\)\n+", "", text, flags=re.M | re.S)
text = re.sub(r"\[([^]]*)\]\((?!https?:)[^)\s]*\)", r"\1", text)

setup(long_description=text, long_description_content_type="text/markdown")
