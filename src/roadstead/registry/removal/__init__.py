"""The transitions that every push, deletion and restoration is made of, and how long what is deleted stays."""
