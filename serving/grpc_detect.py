"""Asks a served model over gRPC what is in images, with the memory of their camera or without.

    pip install tensorflow-serving-api
    python serving/grpc_detect.py --model=wildlife --memory=cam_03.npy photos/cam_03/*.jpg

The memory is a NumPy file of a bank's entries, float32 [entries, entry size]. Numbers travel as
they lie in memory: one of 2,000 entries is 16 MB, where JSON would be 85 and seconds to read.
"""

import argparse

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

LARGEST_MESSAGE = 256 << 20


def detect(channel, model, images, memory=None, timeout=60.0):
    """Detections in encoded images, by the names of the signature's outputs."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = "detect"
    request.inputs["encoded_images"].CopyFrom(tf.make_tensor_proto(images, tf.string))
    if memory is not None:
        request.model_spec.signature_name = "detect_with_context"
        request.inputs["context_features"].CopyFrom(tf.make_tensor_proto(memory[None], tf.float32))
        request.inputs["valid_context_size"].CopyFrom(tf.make_tensor_proto([len(memory)], tf.int32))
    answer = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout)
    return {name: tf.make_ndarray(value) for name, value in answer.outputs.items()}


def main():
    parser = argparse.ArgumentParser(description="Asks a served model over gRPC.")
    parser.add_argument("images", nargs="+", help="all of one camera, if a memory is given")
    parser.add_argument("--server", default="localhost:8500", help="(default: localhost:8500)")
    parser.add_argument("--model", required=True, help="its name on the server")
    parser.add_argument("--memory", help="NumPy file [entries, entry size]")
    parser.add_argument("--min_score", type=float, default=0.3, help="(default: 0.3)")
    args = parser.parse_args()
    memory = np.load(args.memory) if args.memory else None
    options = [
        ("grpc.max_send_message_length", LARGEST_MESSAGE),
        ("grpc.max_receive_message_length", LARGEST_MESSAGE),
    ]
    with grpc.insecure_channel(args.server, options) as channel:
        for path in args.images:
            with open(path, "rb") as file:
                found = detect(channel, args.model, [file.read()], memory)
            print(path)
            names = ("detection_scores", "detection_classes", "detection_boxes")
            for score, number, box in zip(*(found[name][0] for name in names), strict=True):
                if score >= args.min_score:
                    edges = " ".join(f"{edge:.3f}" for edge in box)
                    print(f"  class {number}  score {score:.2f}  y1 x1 y2 x2 {edges}")


if __name__ == "__main__":
    main()
