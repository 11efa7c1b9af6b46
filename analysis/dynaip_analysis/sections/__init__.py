"""Report sections: each prepares files with the models once, and reads them back without any."""
