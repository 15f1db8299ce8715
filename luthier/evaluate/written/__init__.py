"""What is measured of answers that a model wrote, beside how alike they are to the wanted ones."""
