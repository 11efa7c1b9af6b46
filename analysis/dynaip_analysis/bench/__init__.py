"""What the questions share: a run with its cases and metrics, labelled pictures, and the base of report sections."""
