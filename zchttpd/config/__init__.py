"""What was asked for: options, the small languages of rules, settings. Imports nothing else of zchttpd."""
