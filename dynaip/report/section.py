"""The contract of report sections, where sections written against 0.1 look for it."""

from dynaip.contracts.section import AnalysisRequest as AnalysisRequest
from dynaip.contracts.section import ReportSection as ReportSection
from dynaip.contracts.section import SectionContent as SectionContent
