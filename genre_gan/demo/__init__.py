"""The page: three tabs, two endpoints, and the limits that strangers need. Only this package imports gradio."""
