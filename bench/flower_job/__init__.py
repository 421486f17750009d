"""One federated job on Flower in several writings: plain, protected by securefed, and by Flower's own SecAgg+.

The bench makes an app folder of this package and names, for each variant, the client app and the server app to run.
"""
