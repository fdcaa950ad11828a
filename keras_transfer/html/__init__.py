"""What HTML pages and notebook views share: templates, SVG figures, thumbnails."""
