"""The zoo beside the reference implementations: torchvision, timm, pytorchcv, published tables."""
