"""Draw Grad-CAM or occlusion maps, the images with the highest losses, or residual blocks."""

import argparse

from keras_transfer.cli import options

METHODS = {
    "gradcam": "what increases a class score, from gradients",
    "occlusion": "what decreases a class score when it is covered",
    "top-losses": "the images with the highest losses, with Grad-CAM",
    "residuals": "what the blocks of a residual network add",
}
EXAMPLES = (
    "keras-transfer explain gradcam runs/flowers new.jpg --output why.png",
    "keras-transfer explain occlusion runs/flowers new.jpg --class rose",
    "keras-transfer explain top-losses runs/flowers --split val --count 24 --output losses.png",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("method", choices=tuple(METHODS), metavar="METHOD",
                        help="; ".join(f"{name}: {text}" for name, text in METHODS.items()))  # fmt: skip
    options.add_model(parser)
    parser.add_argument("paths", nargs="*", metavar="PATH",
                        help="images or folders (default: the run's own); for top-losses a data source")  # fmt: skip
    options.add_picture(parser, "output", "image to write (default: METHOD.png)")
    parser.add_argument("--count", type=options.positive, default=12, metavar="N",
                        help="maximum number of images (default: 12)")  # fmt: skip
    options.add_split(parser)
    parser.add_argument("--class", dest="class_name", metavar="NAME",
                        help="class to explain (default: the predicted one)")  # fmt: skip
    parser.add_argument("--layer", metavar="NAME",
                        help="layer that Grad-CAM explains (default: the last); for residuals a block")  # fmt: skip
    parser.add_argument("--json", dest="json_file", metavar="FILE", help="residuals only: also write the table as JSON")
    options.add_backend(parser)


def run(arguments: argparse.Namespace) -> None:
    from keras_transfer.explain.command import explain

    output = arguments.output or f"{arguments.method}.png"
    explain(arguments.method, arguments.source, arguments.paths, output, count=arguments.count,
            split=arguments.split, class_name=arguments.class_name, layer=arguments.layer,
            json_file=arguments.json_file, backend=arguments.backend, device=arguments.device)  # fmt: skip
