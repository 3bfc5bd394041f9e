"""Reports: each turns a record into text, HTML or JSON. They read records only and never run anything."""
