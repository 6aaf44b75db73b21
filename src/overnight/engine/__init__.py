"""The shell: the only loop, performing decided actions, collecting, and running rows through upstreams."""
