"""What SimGAN is: networks, losses, history, the model card and the export.

Re-exports nothing, so that the service can import the card without torch.
"""
