import warnings

# pyworld's, each time that it is imported; nobody who runs the service can do anything about it.
warnings.filterwarnings("ignore", "pkg_resources is deprecated", UserWarning)
