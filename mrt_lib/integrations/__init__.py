"""This library's arms inside other people's trainers."""
