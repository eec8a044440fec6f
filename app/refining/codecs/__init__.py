"""What each image container says about its picture, read from untrusted bytes before any pixel is decoded."""
