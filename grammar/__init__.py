"""The grammar of .arch files, and what colours them: for Pygments, and for editors that read TextMate grammars."""
